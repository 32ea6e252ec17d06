package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "What \"remit serve\" is told",
		Long: `These commands are about what "remit serve" is told by flags, by the environment and by a
configuration file. They ask no server.`,
		GroupID:     groupRun,
		Annotations: local,
	}
	cmd.AddCommand(a.configPrintCommand(), a.configSchemaCommand())
	return cmd
}

func (a *app) configPrintCommand() *cobra.Command {
	var config serveConfig
	var set *settings
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, and where each value comes from",
		Long: `Print takes the flags of "remit serve", reads the environment and the file as that does,
and prints what comes of them, as YAML that can be used as the file, or with
--output json. It reports every fault of them at once, and starts nothing. Secrets are
not shown.`,
		Example: `  remit config print
  remit config print --config remit.yaml
  REMIT_LOG_LEVEL=debug remit config print --config remit.yaml --insecure -o json`,
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(*cobra.Command, []string) error {
			if err := a.checkOutput(); err != nil {
				return err
			}
			if err := config.effective(set); err != nil {
				return err
			}
			return a.printSettings(set)
		},
	}
	set = serveSettings(cmd.Flags(), &config)
	set.present(cmd)
	return cmd
}

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file",
		Long: `Schema prints the JSON Schema of the file that --config names, for editors that complete
and check it.`,
		Example:     "  remit config schema > remit.schema.json",
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(*cobra.Command, []string) error {
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(serveSettings(pflag.NewFlagSet("", pflag.ContinueOnError), &serveConfig{}).schema()); err != nil {
				return err
			}
			_, err := a.stdout.Write(out.Bytes())
			return err
		},
	}
}

// A shownSetting is one setting as it is printed.
type shownSetting struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	From  string `json:"from"`
}

// hiddenValue stands for a secret.
const hiddenValue = "(not shown)"

// shown lists the settings in effect. Those that the help does not show are left out
// where nobody has set them.
func (s *settings) shown() []shownSetting {
	var all []shownSetting
	for _, one := range s.all {
		if one.Hidden && one.origin == "" {
			continue
		}
		show := shownSetting{Key: one.Name, Value: one.plain(one.Value.String()), From: one.origin}
		if one.secret && one.Value.String() != "" {
			show.Value = hiddenValue
		}
		if show.From == "" {
			show.From = "default"
		}
		all = append(all, show)
	}
	return all
}

func (a *app) printSettings(s *settings) error {
	all := s.shown()
	var out bytes.Buffer
	if a.output == "json" {
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(all); err != nil {
			return err
		}
	} else {
		root := &yaml.Node{Kind: yaml.MappingNode}
		for _, one := range all {
			var value yaml.Node
			if err := value.Encode(one.Value); err != nil {
				return err
			}
			value.Style, value.LineComment = value.Style|yaml.FlowStyle, one.From
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: one.Key}, &value)
		}
		e := yaml.NewEncoder(&out)
		e.SetIndent(2)
		if err := e.Encode(root); err != nil {
			return err
		}
	}
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// plain is a value as YAML and JSON have it, given as pflag writes it.
func (s *setting) plain(value string) any {
	switch s.kind {
	case number:
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return n
		}
	case fraction:
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			return f
		}
	case boolean:
		return value == "true"
	case list:
		if values, ok := s.Value.(pflag.SliceValue); ok {
			return values.GetSlice()
		}
	}
	return value
}

// spanPattern is what time.ParseDuration reads.
const spanPattern = `^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`

// addressPattern is host:port, without a host for all of them. What is nowhere by
// default may also be empty.
const (
	addressPattern   = `^[^/]*:[^:/]*$`
	orNowherePattern = `^([^/]*:[^:/]*)?$`
)

// schema is the JSON Schema of the configuration file. It holds defaults, so the settings
// must be as they were made.
func (s *settings) schema() map[string]any {
	properties := map[string]any{}
	for _, one := range s.all {
		_, usage := pflag.UnquoteUsage(one.Flag)
		property := map[string]any{
			"description": fmt.Sprintf("%s. Flag --%s, variable %s.", strings.ToUpper(usage[:1])+usage[1:], one.Name, one.variable()),
			"default":     one.plain(one.DefValue),
		}
		switch one.kind {
		case text:
			property["type"] = "string"
			if one.needed {
				property["minLength"] = 1
			}
		case address:
			property["type"], property["pattern"] = "string", addressPattern
			if one.DefValue == "" {
				property["pattern"] = orNowherePattern
			}
		case number:
			property["type"], property["minimum"] = "integer", *one.least
		case fraction:
			property["type"], property["minimum"], property["maximum"] = "number", 0, 1
		case boolean:
			property["type"] = "boolean"
		case span:
			property["type"], property["pattern"] = "string", spanPattern
		case list:
			property["type"], property["items"] = "array", map[string]any{"type": "string"}
		}
		if one.choices != nil {
			property["enum"] = one.choices
		}
		properties[one.Name] = property
	}
	return map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "Configuration of remit serve",
		"type":                 "object",
		"additionalProperties": false,
		"properties":           properties,
	}
}
