package rpc

import (
	"math/rand/v2"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// edges are lengths at which rules of the schema begin and end, and next to them.
var edges = []int{0, 1, 2, 3, 63, 64, 65, 128, 129, 254, 255, 256, 257, 1016, 1017, 1024, 1025, 1100, 1101, 1280, 1281}

// fillAtRandom sets the fields of a message at random, to what its rules allow as a rule.
func fillAtRandom(random *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	one := random.IntN(max(1, fields.Len())) // of those of which only one can be set
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && i != one || random.IntN(12) == 0 {
			continue
		}
		if f.IsMap() || f.Message() != nil && (depth == 0 || f.Message().FullName() == "google.protobuf.Struct") {
			continue
		}
		optional := f.Message() != nil && f.Name() != "scope" && f.Name() != "question" && f.Name() != "deed" && f.Name() != "tuple"
		switch {
		case f.IsList():
			if random.IntN(6) == 0 || optional && f.Name() == "contextual_tuples" && random.IntN(4) != 0 {
				continue
			}
			for range random.IntN(4) {
				if f.Message() == nil {
					m.Mutable(f).List().Append(scalar(random, f))
					continue
				}
				fillAtRandom(random, m.Mutable(f).List().AppendMutable().Message(), depth-1)
			}
		case optional && random.IntN(4) != 0:
		case f.Message() != nil:
			fillAtRandom(random, m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, scalar(random, f))
		}
	}
}

func scalar(random *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		n := 3 + random.IntN(30)
		if random.IntN(30) == 0 {
			n = edges[random.IntN(len(edges))]
		}
		return protoreflect.ValueOfString(strings.Repeat([]string{"a", "é"}[random.IntN(2)], n))
	case protoreflect.EnumKind:
		values := f.Enum().Values().Len()
		if random.IntN(10) == 0 {
			return protoreflect.ValueOfEnum(protoreflect.EnumNumber(random.IntN(2) * values)) // unspecified, or unknown
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(1 + random.IntN(values-1)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(random.IntN(3) != 0)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(random.IntN(12_000) - 1000))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(random.Int64() - random.Int64())
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(random.IntN(5)))
	}
	panic("a random " + f.Kind().String() + " is missing")
}

// What the comparisons let by, protovalidate would have: whatever a message holds, both say
// the same of it, in the same words, and leave it as it was.
func TestValidationOfRandomMessages(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	judge := schemaValidator{protovalidate.GlobalValidator}
	for _, empty := range []proto.Message{
		&remitv1.CheckRequest{}, &remitv1.CanRequest{}, &remitv1.BatchCheckRequest{}, &remitv1.CanBatchRequest{},
		&remitv1.WriteRequest{}, &remitv1.ImportRequest{}, &remitv1.ListObjectsRequest{},
	} {
		name := empty.ProtoReflect().Descriptor().Name()
		const messages = 20_000
		well := 0
		for range messages {
			m := empty.ProtoReflect().New()
			fillAtRandom(random, m, 4)
			was := proto.Clone(m.Interface())
			got, want := judge.Validate(m.Interface()), protovalidate.Validate(was)
			if want == nil {
				well++
			}
			if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
				t.Fatalf("seed %d: %s: %v, want %v, of\n%v", seed, name, got, want, was)
			}
			if !proto.Equal(m.Interface(), was) {
				t.Fatalf("seed %d: %s was\n%v\nand has become\n%v", seed, name, was, m)
			}
		}
		if well < messages/20 || well > messages*19/20 {
			t.Errorf("%d of %d random %s are well: that shows little", well, messages, name)
		}
	}
}

// A message may hold as many parts as its schema says, plain or not.
func TestValidationOfManyParts(t *testing.T) {
	judge := schemaValidator{protovalidate.GlobalValidator}
	for _, n := range []int{mostParts, mostParts + 1} {
		batch := &remitv1.BatchCheckRequest{Scope: scopeOf("acme")}
		deeds := &remitv1.CanBatchRequest{Scope: &remitv1.OrganisationScope{Store: "acme"}}
		write, load := &remitv1.WriteRequest{Store: "acme"}, &remitv1.ImportRequest{Store: "acme"}
		for range n {
			tuple := &remitv1.Tuple{Object: "document:plan", Relation: "reader", Subject: "user:olga"}
			batch.Questions = append(batch.Questions, &remitv1.BatchQuestion{Question: stormQuestion(0)})
			deeds.Deeds = append(deeds.Deeds, &remitv1.Deed{User: "olga", Action: "view", On: "deal:d1"})
			write.Operations = append(write.Operations, &remitv1.Operation{Kind: remitv1.Operation_KIND_CREATE, Tuple: tuple})
			load.Tuples = append(load.Tuples, tuple)
		}
		for _, m := range []proto.Message{batch, deeds, write, load} {
			got, want := judge.Validate(m), protovalidate.Validate(m)
			if (want == nil) != (n == mostParts) || (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
				t.Errorf("%T of %d: %v, want %v", m, n, got, want)
			}
		}
	}
}

// BenchmarkValidation sets the comparisons beside protovalidate, for one question and for many.
func BenchmarkValidation(b *testing.B) {
	batch := stormBatch("acme", 2000)
	for _, v := range []struct {
		name     string
		validate func(m proto.Message) error
	}{
		{"protovalidate", func(m proto.Message) error { return protovalidate.Validate(m) }},
		{"plain", func(m proto.Message) error {
			return schemaValidator{protovalidate.GlobalValidator}.Validate(m)
		}},
	} {
		for _, m := range []struct {
			name    string
			message proto.Message
		}{{"check", &remitv1.CheckRequest{Scope: scopeOf("acme"), Question: stormQuestion(0)}}, {"batch", batch}} {
			b.Run(v.name+"/"+m.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := v.validate(m.message); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
