package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for releases.
var version = ""

// buildVersion is the release, or else the commit that the binary was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return "devel" + revision + dirty
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version of this binary",
		Example:     "  remit version\n  remit version -o json",
		Args:        cobra.NoArgs,
		GroupID:     groupRun,
		Annotations: local,
		RunE: func(*cobra.Command, []string) error {
			answer := map[string]string{
				"version": buildVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			}
			return a.print(answer, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "remit %s (%s, %s)\n", answer["version"], answer["go"], answer["platform"])
				return err
			})
		},
	}
}
