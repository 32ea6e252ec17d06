package crm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// A source is what entities are read from. What it does not have is nothing, not an error.
type source interface {
	// document is the attributes of an entity, nil if it has none.
	document(o graph.ObjectName) (value.Map, error)

	// tuples are those of an entity's relation, incoming those of a type's relation that
	// name the subject, both in the order of their other ends.
	tuples(o graph.ObjectName, relation string) ([]graph.Tuple, error)
	incoming(typ, relation string, s graph.SubjectName) ([]graph.Tuple, error)
}

// An endpoint is a relation of an entity.
type endpoint struct {
	entity   graph.ObjectName
	relation string
}

// A grant is a relation of a type to a subject.
type grant struct {
	typ, relation string
	subject       graph.SubjectName
}

// An encoded is a source in maps.
type encoded struct {
	outgoing  map[endpoint][]graph.Tuple
	granted   map[grant][]graph.Tuple
	entities  map[string][]string // ids by type, sorted
	documents map[graph.ObjectName]value.Map
}

func newEncoded(e Encoding) *encoded {
	m := &encoded{
		outgoing:  map[endpoint][]graph.Tuple{},
		granted:   map[grant][]graph.Tuple{},
		entities:  map[string][]string{},
		documents: map[graph.ObjectName]value.Map{},
	}
	for _, t := range e.Tuples {
		from, to := endpoint{t.Object, t.Relation}, grant{t.Object.Type, t.Relation, t.Subject}
		m.outgoing[from] = append(m.outgoing[from], t)
		m.granted[to] = append(m.granted[to], t)
	}
	for _, doc := range e.Documents {
		m.documents[doc.Entity] = doc.Fields
		m.entities[doc.Entity.Type] = append(m.entities[doc.Entity.Type], doc.Entity.ID)
	}
	return m
}

func (m *encoded) document(o graph.ObjectName) (value.Map, error) { return m.documents[o], nil }

func (m *encoded) tuples(o graph.ObjectName, relation string) ([]graph.Tuple, error) {
	return m.outgoing[endpoint{o, relation}], nil
}

func (m *encoded) incoming(typ, relation string, s graph.SubjectName) ([]graph.Tuple, error) {
	return m.granted[grant{typ, relation, s}], nil
}
