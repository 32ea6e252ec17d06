package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// tupleMessage is a tuple as the API carries it.
func tupleMessage(t graph.Tuple) (*remitv1.Tuple, error) {
	message := &remitv1.Tuple{Object: t.Object.String(), Relation: t.Relation, Subject: t.Subject.String()}
	if t.Condition != "" {
		message.Condition = &remitv1.Condition{Name: t.Condition}
		if t.Context != nil {
			context, err := contextMessage(t.Context)
			if err != nil {
				return nil, fmt.Errorf("context of %s: %w", t, err)
			}
			message.Condition.Context = context
		}
	}
	if !t.Expires.IsZero() {
		message.ExpiresAt = timestamppb.New(t.Expires)
	}
	return message, nil
}

// tupleOf is the reverse of tupleMessage.
func tupleOf(message *remitv1.Tuple) (graph.Tuple, error) {
	object, err := graph.ParseObject(message.GetObject())
	if err != nil {
		return graph.Tuple{}, err
	}
	subject, err := graph.ParseSubject(message.GetSubject())
	if err != nil {
		return graph.Tuple{}, err
	}
	t := graph.Tuple{Object: object, Relation: message.GetRelation(), Subject: subject}
	if c := message.GetCondition(); c != nil {
		t.Condition, t.Context = c.GetName(), c.GetContext().AsMap()
	}
	if message.GetExpiresAt() != nil {
		t.Expires = message.GetExpiresAt().AsTime()
	}
	return t, nil
}

// contextMessage is a context as the API carries it.
func contextMessage(fields value.Map) (*structpb.Struct, error) {
	exact, _ := exactNumbers(fields).(map[string]any)
	return structpb.NewStruct(exact)
}

// exactNumbers turns integers that a float64 cannot hold into texts: a message's numbers
// are floats, and conditions read integers from texts too.
func exactNumbers(v value.Value) value.Value {
	const exact = 1 << 53
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, element := range v {
			m[k] = exactNumbers(element)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, element := range v {
			l[i] = exactNumbers(element)
		}
		return l
	case int64:
		if v > exact || v < -exact {
			return strconv.FormatInt(v, 10)
		}
	case uint64:
		if v > exact {
			return strconv.FormatUint(v, 10)
		}
	}
	return v
}

// tupleText is a tuple in one line: object#relation@subject, its condition and expiry.
func tupleText(t *remitv1.Tuple) string {
	if t == nil {
		return ""
	}
	s := t.GetObject() + "#" + t.GetRelation() + "@" + t.GetSubject()
	if c := t.GetCondition(); c != nil {
		s += " with " + c.GetName()
	}
	if t.GetExpiresAt() != nil {
		s += " until " + instantText(t.GetExpiresAt().AsTime())
	}
	return s
}

// contextText is a tuple's stored context in one line.
func contextText(c *remitv1.Condition) string {
	if c == nil {
		return ""
	}
	s := c.GetName()
	fields := c.GetContext().AsMap()
	if len(fields) == 0 {
		return s
	}
	return s + " " + valueText(fields)
}

// valueText is a value as JSON on one line, whole numbers without a fraction.
func valueText(v any) string {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatInt(int64(f), 10)
	}
	return jsonLine(v)
}

// instantText is an instant without what is zero in it.
func instantText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
