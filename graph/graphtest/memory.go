package graphtest

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Memory opens a store as a graph.Memory.
func Memory(_ testing.TB, s *Store) (Opened, error) {
	table := model.NewTable()
	table.Define(s.Written.Declarations())
	table.Define(s.Asked.Declarations())
	written, err := s.Written.Compile("", table)
	if err != nil {
		return Opened{}, err
	}
	asked, err := s.Asked.Compile("", table)
	if err != nil {
		return Opened{}, err
	}
	m := graph.NewMemory(1, time.Time{})
	for _, step := range s.Steps {
		if step.Remove {
			_, err = m.Remove(written, step.Tuple)
		} else {
			err = m.Put(written, step.Tuple)
		}
		if err != nil {
			return Opened{}, err
		}
	}
	return Opened{View: m, Written: written, Asked: asked}, nil
}
