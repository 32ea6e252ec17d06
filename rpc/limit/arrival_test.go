package limit

import (
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/observe"
)

// randomly sets fields of a message, and of those in it.
func randomly(random *rand.Rand, m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case random.IntN(3) == 0 || f.IsMap() || f.Message() != nil && (depth == 0 || f.Message().FullName().Parent() == "google.protobuf"):
		case f.IsList() && f.Message() != nil:
			for range random.IntN(5) {
				randomly(random, m.Mutable(f).List().AppendMutable().Message(), depth-1)
			}
		case f.IsList() && f.Kind() == protoreflect.StringKind:
			for range random.IntN(5) {
				m.Mutable(f).List().Append(protoreflect.ValueOfString("é"))
			}
		case f.IsList():
		case f.Message() != nil:
			randomly(random, m.Mutable(f).Message(), depth-1)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(strings.Repeat("a", random.IntN(20))))
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		}
	}
}

// The outline of any request of any face is of the same store, and of as many calls, but for
// those whose elements have a cost of their own: of these it shows no more than there are. What
// cannot be decoded has none, or one that nobody is worse off by.
func TestOutlinesShowWhatIsAskedFor(t *testing.T) {
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	several := 0
	methods(func(procedure string, m protoreflect.MethodDescriptor) {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			msg := kind.New()
			randomly(random, msg, 4)
			data, err := proto.Marshal(msg.Interface())
			if err != nil {
				t.Fatal(err)
			}
			text, err := protojson.MarshalOptions{UseProtoNames: random.IntN(2) == 0}.Marshal(msg.Interface())
			if err != nil {
				t.Fatal(err)
			}
			for _, arrived := range []struct {
				name string
				form Form
				data []byte
			}{{"binary", Binary, data}, {"JSON", JSON, text}} {
				known, got, ok := arrived.form(arrived.data, msg)
				if !ok {
					t.Fatalf("%s: %v has no outline in %s", procedure, msg, arrived.name)
				}
				if store := observe.StoreOf(known); store != observe.StoreOf(msg.Interface()) {
					t.Fatalf("%s: in %s the outline of %v is of the store %q", procedure, arrived.name, msg, store)
				}
				want := countOf(msg.Interface())
				switch msg.Interface().(type) {
				case *remitv1.ChangeRequest, *remitv1.PlanChangeRequest:
					want = min(want, got)
				}
				if got != want {
					t.Fatalf("%s: in %s the outline of %v shows %d calls, want %d", procedure, arrived.name, msg, got, want)
				}
				if got > 1 {
					several++
				}
				if n := len(arrived.data); n > 0 {
					arrived.data[random.IntN(n)] = byte(random.Uint32())
					arrived.form(arrived.data[:random.IntN(n+1)], msg) // it shall return
				}
			}
		}
	})
	if several < 200 {
		t.Errorf("only %d requests ask for several things: the test does not reach what it is about", several)
	}
}

// BenchmarkOutline is what it takes to know what a batch of 2,000 questions asks for, and to
// decode it.
func BenchmarkOutline(b *testing.B) {
	batch := &remitv1.BatchCheckRequest{Scope: &remitv1.Scope{Store: "acme"}}
	for range 2000 {
		batch.Questions = append(batch.Questions, &remitv1.BatchQuestion{Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}})
	}
	data, err := proto.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	text, err := protojson.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	for _, arrived := range []struct {
		name   string
		form   Form
		decode func([]byte, proto.Message) error
		data   []byte
	}{{"binary", Binary, proto.Unmarshal, data}, {"JSON", JSON, protojson.Unmarshal, text}} {
		b.Run(arrived.name+"/outlined", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if known, count, ok := arrived.form(arrived.data, batch.ProtoReflect()); !ok || count != 2000 {
					b.Fatal(known, count, ok)
				}
			}
		})
		b.Run(arrived.name+"/decoded", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := arrived.decode(arrived.data, &remitv1.BatchCheckRequest{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
