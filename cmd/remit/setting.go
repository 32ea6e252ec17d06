package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A kind is what a setting's value is written as.
type kind int

const (
	text    kind = iota
	address      // host:port to listen on
	number
	fraction // from 0 to 1
	boolean
	span // a duration
	list // of texts
)

// wants says what a value of the kind is.
func (k kind) wants() string {
	return [...]string{
		text: "a text", address: "an address such as 127.0.0.1:8080", number: "a whole number", fraction: "a number from 0 to 1",
		boolean: "true or false", span: "a time with a unit, such as 1m30s", list: "a list such as [a, b]",
	}[k]
}

// A setting is one thing that "remit serve" can be told: by a flag, by a variable of the
// environment, or by a key of the configuration file. The flag says what it is called,
// what it means, where its value goes and what is there by default; this adds what the
// other two and the file's schema need. There is no other way to give serve a flag, so
// that none can be without the rest.
type setting struct {
	*pflag.Flag
	kind    kind
	heading string   // of the part of the help that it stands in
	choices []string // the only values, if there are any
	least   *int64   // of a number
	needed  bool     // a text that must not be empty
	secret  bool     // its value is not to be shown

	origin string // of the value in effect; empty for the default
}

// variable is the setting's name in the environment: REMIT_DATA_DIR for --data-dir.
func (s *setting) variable() string {
	return "REMIT_" + strings.ReplaceAll(strings.ToUpper(s.Name), "-", "_")
}

// settings are all that serve can be told, as flags of one command.
type settings struct {
	flags   *pflag.FlagSet
	all     []*setting
	heading string // of those that are made next
	file    string // flag --config
}

// add makes a setting of a flag that was just defined.
func (s *settings) add(name string, k kind) *setting {
	made := &setting{Flag: s.flags.Lookup(name), kind: k, heading: s.heading}
	s.all = append(s.all, made)
	return made
}

func (s *settings) text(p *string, name, value, usage string) *setting {
	s.flags.StringVar(p, name, value, usage)
	return s.add(name, text)
}

func (s *settings) address(p *string, name, value, usage string) *setting {
	s.flags.StringVar(p, name, value, usage)
	return s.add(name, address)
}

// choice is a text of which there are few.
func (s *settings) choice(p *string, name, value string, choices []string, usage string) *setting {
	made := s.text(p, name, value, usage)
	made.choices = choices
	return made
}

func (s *settings) number(p *int, name string, value int, least int64, usage string) *setting {
	s.flags.IntVar(p, name, value, usage)
	made := s.add(name, number)
	made.least = &least
	return made
}

func (s *settings) count(p *uint64, name string, value uint64, usage string) *setting {
	s.flags.Uint64Var(p, name, value, usage)
	made := s.add(name, number)
	made.least = new(int64)
	return made
}

func (s *settings) fraction(p *float64, name string, value float64, usage string) *setting {
	s.flags.Float64Var(p, name, value, usage)
	return s.add(name, fraction)
}

func (s *settings) boolean(p *bool, name string, value bool, usage string) *setting {
	s.flags.BoolVar(p, name, value, usage)
	return s.add(name, boolean)
}

func (s *settings) span(p *time.Duration, name string, value time.Duration, usage string) *setting {
	s.flags.DurationVar(p, name, value, usage)
	return s.add(name, span)
}

func (s *settings) list(p *[]string, name string, value []string, usage string) *setting {
	s.flags.StringSliceVar(p, name, value, usage)
	return s.add(name, list)
}

// hide keeps settings for tests and experts out of the help.
func (s *settings) hide(hidden ...*setting) {
	for _, h := range hidden {
		h.Hidden = true
	}
}

// present shows the settings under their headings in the command's help, and offers the
// values of choices to those who complete them.
func (s *settings) present(cmd *cobra.Command) {
	other := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.InitDefaultHelpFlag()
	s.flags.VisitAll(func(f *pflag.Flag) {
		if s.find(f.Name) == nil {
			other.AddFlag(f)
		}
	})
	help := "\n\nFlags:\n" + other.FlagUsages()
	for _, heading := range s.headings() {
		part := pflag.NewFlagSet("", pflag.ContinueOnError)
		part.SortFlags = false
		for _, one := range s.all {
			if one.heading == heading {
				part.AddFlag(one.Flag)
			}
		}
		help += "\n" + heading + ":\n" + part.FlagUsages()
	}
	cmd.SetUsageTemplate(usageHead + strings.TrimRight(help, "\n") + usageTail)
	for _, one := range s.all {
		if one.choices != nil {
			complete(cmd, one.Name, one.choices...)
		}
	}
}

// headings are those of the help, in their order.
func (s *settings) headings() []string {
	var all []string
	for _, one := range s.all {
		if !slices.Contains(all, one.heading) {
			all = append(all, one.heading)
		}
	}
	return all
}

// names are those of all settings.
func (s *settings) names() []string {
	names := make([]string, len(s.all))
	for i, one := range s.all {
		names[i] = one.Name
	}
	return names
}

// find is the setting of a name, nil if there is none.
func (s *settings) find(name string) *setting {
	for _, one := range s.all {
		if one.Name == name {
			return one
		}
	}
	return nil
}

// fileVariable names the configuration file where --config does not.
const fileVariable = "REMIT_CONFIG"

// resolve gives every setting its value: that of its flag, or else of its variable, or
// else of the file, or else its default. It reports every fault of all of them at once,
// one that does not count included: it would count on the day that the other goes.
func (s *settings) resolve() error {
	if s.file == "" {
		s.file = os.Getenv(fileVariable)
	}
	var faults []error
	written := map[string]fileValue{}
	if s.file != "" {
		var err error
		if written, err = readConfigFile(s.file, s); err != nil {
			faults = append(faults, err)
		}
	}
	for _, one := range s.all {
		var err error
		value, inFile := written[one.Name]
		variable := os.Getenv(one.variable())
		switch {
		case one.Changed:
			one.origin = "--" + one.Name
			err = one.checkFlag()
		case variable != "":
			one.origin = one.variable()
			err = one.setVariable(variable)
		case inFile:
			one.origin = value.place
			err = one.set(value)
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// checkFlag judges a value that pflag has taken. One that is wrong gives way to the
// default, so that nobody complains of it again.
func (s *setting) checkFlag() error {
	if s.kind == address || s.kind == list {
		return nil // the server says what is wrong with an address
	}
	if err := s.check(s.Value.String()); err != nil {
		return errors.Join(fmt.Errorf("--%s %w", s.Name, err), s.Value.Set(s.DefValue))
	}
	return nil
}

// setVariable takes a value from the environment.
func (s *setting) setVariable(value string) error {
	if s.kind == address && !isAddress(value) {
		// REMIT_ADDR is also where the other commands find their server.
		return fmt.Errorf("%s=%q is no HOST:PORT to listen on; give --%s", s.variable(), value, s.Name)
	}
	if err := s.check(value); err != nil {
		return fmt.Errorf("%s=%w", s.variable(), err)
	}
	if err := s.Value.Set(value); err != nil {
		return fmt.Errorf("%s is %q, want %s", s.variable(), value, s.kind.wants())
	}
	return nil
}

// set takes a value from the file, which is of the right kind.
func (s *setting) set(v fileValue) error {
	err := s.Value.Set(v.text)
	if s.kind == list {
		err = s.Value.(pflag.SliceValue).Replace(v.list)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", v.place, s.Name, err)
	}
	return nil
}

// check judges a value by what only some settings ask. The fault begins with
// the value.
func (s *setting) check(value string) error {
	if s.choices != nil && !slices.Contains(s.choices, value) {
		last := len(s.choices) - 1
		return fmt.Errorf("%s is unknown; it is %s or %s", value, strings.Join(s.choices[:last], ", "), s.choices[last])
	}
	switch n, err := strconv.ParseInt(value, 0, 64); {
	case s.kind == number && err == nil && n < *s.least:
		return fmt.Errorf("%d is too small; it is at least %d", n, *s.least)
	case s.needed && value == "":
		return errors.New("is empty, must not be; leave it out for " + s.DefValue)
	}
	if f, err := strconv.ParseFloat(value, 64); s.kind == fraction && err == nil && !(f >= 0 && f <= 1) {
		return fmt.Errorf("%s is out of range; it is from 0 to 1", value)
	}
	return nil
}

func isAddress(value string) bool {
	_, _, err := net.SplitHostPort(value)
	return err == nil && !strings.Contains(value, "/")
}

// fromEnvironment sets flags of other commands than serve that were not given, as serve's
// are set.
func fromEnvironment(cmd *cobra.Command, names ...string) error {
	var faults []error
	for _, name := range names {
		s := &setting{Flag: cmd.Flags().Lookup(name)}
		if value := os.Getenv(s.variable()); value != "" && !s.Changed {
			faults = append(faults, s.setVariable(value))
		}
	}
	return errors.Join(faults...)
}
