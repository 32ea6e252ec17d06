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
	boolean
	span // a duration
	list // of texts
)

// A setting is one thing that "remit serve" can be told: by a flag, by a variable of the
// environment, or by a key of the configuration file. The flag says what it is called,
// what it means, where its value goes and what is there by default; this adds what the
// other two and the file's schema need. There is no other way to give serve a flag, so
// that none can be without the rest.
type setting struct {
	*pflag.Flag
	kind    kind
	choices []string // the only values, if there are any
	least   *int64   // of a number
	secret  bool     // its value is not to be shown

	origin string // of the value in effect; empty for the default
}

// variable is the setting's name in the environment: REMIT_DATA_DIR for --data-dir.
func (s *setting) variable() string {
	return "REMIT_" + strings.ReplaceAll(strings.ToUpper(s.Name), "-", "_")
}

// settings are all that serve can be told, as flags of one command.
type settings struct {
	flags *pflag.FlagSet
	all   []*setting
	file  string // flag --config
}

// add makes a setting of a flag that was just defined.
func (s *settings) add(name string, k kind) *setting {
	made := &setting{Flag: s.flags.Lookup(name), kind: k}
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

// complete offers the values of choices.
func (s *settings) complete(cmd *cobra.Command) {
	for _, one := range s.all {
		if one.choices != nil {
			complete(cmd, one.Name, one.choices...)
		}
	}
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
		return fmt.Errorf("%s=%q: %w", s.variable(), value, err)
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
	if s.kind == number {
		if n, err := strconv.ParseInt(value, 0, 64); err == nil && n < *s.least {
			return fmt.Errorf("%d is too small; it is at least %d", n, *s.least)
		}
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
