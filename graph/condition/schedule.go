package condition

import (
	"fmt"
	"sync/atomic"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

// scheduleFunction declares on_schedule(schedule, timestamp), true while the schedule is
// open.
func scheduleFunction() cel.EnvOption {
	return cel.Function("on_schedule",
		cel.Overload("on_schedule_dyn_timestamp", []*cel.Type{cel.DynType, cel.TimestampType}, cel.BoolType,
			cel.BinaryBinding(onSchedule)))
}

func onSchedule(arg, at ref.Val) ref.Val {
	instant, ok := at.(types.Timestamp)
	if !ok {
		return types.MaybeNoSuchOverloadErr(at)
	}
	var s *schedule.Schedule
	var err error
	switch arg := arg.(type) {
	case *mapValue:
		s, err = arg.schedule()
	case traits.Mapper:
		// A map that the expression itself makes.
		var fields value.Value
		if fields, err = fromCEL(arg, 1); err == nil {
			s, err = parseSchedule(fields.(value.Map))
		}
	default:
		return types.MaybeNoSuchOverloadErr(arg)
	}
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(s.Open(instant.Time))
}

// A mapValue is a map out of a context. It remembers what it was made of, and the schedule
// that this is, once someone asked for it.
type mapValue struct {
	traits.Mapper
	fields   value.Map
	compiled atomic.Pointer[compiledSchedule]
}

type compiledSchedule struct {
	schedule *schedule.Schedule
	err      error
}

func newMap(fields value.Map, converted map[string]any) *mapValue {
	return &mapValue{Mapper: types.NewStringInterfaceMap(adapter, converted), fields: fields}
}

func (m *mapValue) schedule() (*schedule.Schedule, error) {
	c := m.compiled.Load()
	if c == nil {
		c = new(compiledSchedule)
		c.schedule, c.err = parseSchedule(m.fields)
		m.compiled.Store(c)
	}
	return c.schedule, c.err
}

// maxSchedules bounds the cache of schedules in bytes of their encodings. A store has
// some tens of shifts, most of which take less than a kilobyte.
const maxSchedules = 1 << 20

// schedules remembers compiled schedules by their canonical encoding, for contexts that
// are decoded anew for each request.
var schedules = cache[*schedule.Schedule]{most: maxSchedules}

func parseSchedule(fields value.Map) (*schedule.Schedule, error) {
	key, err := value.Encode(fields)
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	if s, ok := schedules.get(key); ok {
		return s, nil
	}
	s, err := schedule.Parse(fields)
	if err != nil {
		return nil, err
	}
	schedules.put(key, s)
	return s, nil
}

// fromCEL makes a value of what an expression computed.
func fromCEL(v ref.Val, depth int) (value.Value, error) {
	if depth > value.MaxDepth {
		return nil, value.ErrTooDeep
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case types.String:
		return string(v), nil
	case *mapValue:
		return v.fields, nil
	case traits.Lister:
		out := value.List{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			element, err := fromCEL(it.Next(), depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, element)
		}
		return out, nil
	case traits.Mapper:
		out := value.Map{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.(types.String)
			if !ok {
				return nil, fmt.Errorf("schedule: key %v is no string", key)
			}
			element, err := fromCEL(v.Get(key), depth+1)
			if err != nil {
				return nil, err
			}
			out[string(name)] = element
		}
		return out, nil
	}
	return nil, fmt.Errorf("schedule: %s has no place in it", v.Type().TypeName())
}
