package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/rpc/decision"
)

// decisionSettings are those of the log of decisions, and of traces.
func decisionSettings(s *settings, c *serveConfig) {
	d := &c.Decisions
	s.text(&d.File, "decision-log", "", "log decisions to this `file`, - is standard output; without it none are logged")
	s.choice(&c.logDecisions, "decision-log-select", string(decision.Denied), decision.Selections(),
		"log these `decisions`: off, denied (with errors), sampled (some of the others, too) or all")
	s.number(&d.Sample, "decision-log-sample", decision.DefaultSample, 1, "sampled logs one of this `number` of decisions that neither denied nor failed")
	s.boolean(&d.Values, "decision-log-context", false, "log the values of a question's context, not only their names; they may be personal")
	s.number(&d.MaxMiB, "decision-log-size", decision.DefaultMaxMiB, 1, "`MiB` from which on the file is set aside, and another begun")
	s.number(&d.Keep, "decision-log-keep", decision.DefaultKeep, 0, "`files` set aside that stay there, the newest ones; 0 removes none")
	s.number(&d.KeepDays, "decision-log-keep-days", 0, 0, "`days` that files set aside stay there; 0 is for ever")
	s.text(&c.Traces.Endpoint, "trace-endpoint", "", "tell the collector at this `URL` of calls, by OTLP over HTTP; without it none is told")
	s.fraction(&c.Traces.Sample, "trace-sample", 0, "the `share` of calls that are told, from 0 to 1; callers that bring a trace decide for themselves")
}

// effectiveDecisions takes what the settings of decisions make, and refuses some that say
// nothing for want of another.
func (c *serveConfig) effectiveDecisions(s *settings) error {
	c.Decisions.Select = decision.Selection(c.logDecisions)
	if c.Decisions.File != "" || c.Decisions.Select == decision.Off {
		return nil
	}
	c.Decisions.Select = decision.Off
	// The default says nothing: a printed configuration has it, too.
	if one := s.find("decision-log-select"); one.Value.String() != one.DefValue {
		return errors.New(one.origin + " says which decisions to log, and nothing says where to: give --decision-log")
	}
	return nil
}

// reopenLogs opens the files of logs again on SIGHUP, until it is undone. Without such a
// file the signal keeps its own effect.
func reopenLogs(s *server.Server, config server.Config) (undo func()) {
	if config.Decisions.File == "" || config.Decisions.File == decision.Stdout {
		return func() {}
	}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range signals {
			if err := s.Reopen(); err != nil {
				config.Log.Warn("reopen logs", "error", err)
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
