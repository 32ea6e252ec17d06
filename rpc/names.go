package rpc

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// tupleOf reads a tuple of a request. Faults name the field under path.
func tupleOf(path string, t *remitv1.Tuple) (graph.Tuple, error) {
	var tuple graph.Tuple
	var err error
	if tuple.Object, err = graph.ParseObject(t.GetObject()); err != nil {
		return graph.Tuple{}, at(path+".object", err)
	}
	tuple.Relation = t.GetRelation()
	if tuple.Subject, err = graph.ParseSubject(t.GetSubject()); err != nil {
		return graph.Tuple{}, at(path+".subject", err)
	}
	if c := t.GetCondition(); c != nil {
		tuple.Condition = c.GetName()
		if tuple.Context, err = contextOf(path+".condition.context", c.GetContext()); err != nil {
			return graph.Tuple{}, err
		}
	}
	if t.GetExpiresAt() != nil {
		if tuple.Expires, err = boundOf(path+".expires_at", t.GetExpiresAt()); err != nil {
			return graph.Tuple{}, err
		}
		// Zero milliseconds stand for "never" in the store.
		if tuple.Expires = tuple.Expires.Truncate(time.Millisecond); tuple.Expires.UnixMilli() <= 0 {
			return graph.Tuple{}, at(path+".expires_at", fmt.Errorf("%w: an expiry lies after 1970-01-01T00:00:00Z", backend.ErrRequest))
		}
	}
	return tuple, nil
}

// contextOf reads the parameters of conditions.
func contextOf(path string, s *structpb.Struct) (value.Map, error) {
	if s == nil {
		return nil, nil
	}
	if size := proto.Size(s); size > MaxContextBytes {
		return nil, at(path, fmt.Errorf("%w: the context takes %d bytes, at most %d are allowed", ErrTooLarge, size, MaxContextBytes))
	}
	m, err := value.Normalize(s.AsMap())
	if err != nil {
		return nil, at(path, fmt.Errorf("%w: %w", ErrContext, err))
	}
	return m, nil
}

// instantOf reads a timestamp.
func instantOf(path string, t *timestamppb.Timestamp) (time.Time, error) {
	if err := t.CheckValid(); err != nil {
		return time.Time{}, at(path, fmt.Errorf("%w: %w", backend.ErrRequest, err))
	}
	return t.AsTime(), nil
}

// boundOf reads a timestamp, the end of a time or its beginning, of which the zero instant would mean that there is none, and
// refuses that.
func boundOf(path string, t *timestamppb.Timestamp) (time.Time, error) {
	instant, err := instantOf(path, t)
	if err == nil && instant.IsZero() {
		err = at(path, fmt.Errorf("%w: it is the beginning of time: leave it out if none is meant", backend.ErrRequest))
	}
	return instant, err
}

// tupleMessage is the reverse of tupleOf.
func tupleMessage(t graph.Tuple) (*remitv1.Tuple, error) {
	m := &remitv1.Tuple{Object: t.Object.String(), Relation: t.Relation, Subject: t.Subject.String()}
	if t.Condition != "" {
		m.Condition = &remitv1.Condition{Name: t.Condition}
		if len(t.Context) > 0 {
			s, err := structpb.NewStruct(t.Context)
			if err != nil {
				return nil, fmt.Errorf("context of %s: %w", t, err)
			}
			m.Condition.Context = s
		}
	}
	if !t.Expires.IsZero() {
		m.ExpiresAt = timestamppb.New(t.Expires)
	}
	return m, nil
}

// patternOf reads a filter. An object or subject without a colon is a type.
func patternOf(f *remitv1.TupleFilter) (backend.Pattern, error) {
	p := backend.Pattern{Relation: f.GetRelation()}
	if s := f.GetObject(); s != "" && !strings.Contains(s, ":") {
		p.ObjectType = s
	} else if s != "" {
		name, err := graph.ParseObject(s)
		if err != nil {
			return backend.Pattern{}, at("filter.object", err)
		}
		p.ObjectType, p.ObjectID, p.HasObjectID = name.Type, name.ID, true
	}
	if s := f.GetSubject(); s != "" && !strings.Contains(s, ":") {
		p.SubjectType = s
	} else if s != "" {
		name, err := graph.ParseSubject(s)
		if err != nil {
			return backend.Pattern{}, at("filter.subject", err)
		}
		p.SubjectType, p.SubjectID, p.SubjectRelation, p.HasSubjectID = name.Type, name.ID, name.Relation, true
	}
	return p, nil
}
