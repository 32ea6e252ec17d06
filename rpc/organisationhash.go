package rpc

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/remit-authz/remit/rpc/backend"
)

// contentOf digests what a message asks for, field by field: unlike its bytes, that is the
// same in every release, and a field that a release adds changes nothing where it is not
// given. Fields that are left out do not tell one request from another.
func contentOf(kind string, m proto.Message, leaveOut ...protoreflect.Name) [32]byte {
	h := backend.NewContentHash(kind)
	digestMessage(h, m.ProtoReflect(), leaveOut)
	return h.Done()
}

func digestMessage(h *backend.ContentHash, m protoreflect.Message, leaveOut []protoreflect.Name) {
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(leaveOut, f.Name()) {
			fields = append(fields, f)
		}
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	h.Int(int64(len(fields)))
	for _, f := range fields {
		h.Int(int64(f.Number()))
		v := m.Get(f)
		switch {
		case f.IsMap():
			digestMap(h, f, v.Map())
		case f.IsList():
			h.Int(int64(v.List().Len()))
			for i := range v.List().Len() {
				digestValue(h, v.List().Get(i))
			}
		default:
			digestValue(h, v)
		}
	}
}

// digestMap takes a map's elements in the order of their keys.
func digestMap(h *backend.ContentHash, f protoreflect.FieldDescriptor, m protoreflect.Map) {
	var keys []protoreflect.MapKey
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return strings.Compare(a.String(), b.String()) })
	h.Int(int64(len(keys)))
	for _, k := range keys {
		h.String(k.String())
		digestValue(h, m.Get(k))
	}
}

func digestValue(h *backend.ContentHash, v protoreflect.Value) {
	switch v := v.Interface().(type) {
	case protoreflect.Message:
		digestMessage(h, v, nil)
	case string:
		h.String(v)
	case []byte:
		h.String(string(v))
	case bool:
		h.Int(int64(flag(v)))
	case protoreflect.EnumNumber:
		h.Int(int64(v))
	case int32:
		h.Int(int64(v))
	case int64:
		h.Int(v)
	case uint32:
		h.Int(int64(v))
	case uint64:
		h.Int(int64(v))
	case float32:
		h.Int(int64(math.Float32bits(v)))
	case float64:
		h.Int(int64(math.Float64bits(v)))
	}
}
