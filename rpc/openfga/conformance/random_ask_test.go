package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// peerPatience is how long OpenFGA may think about a question: for some cycles it would
// for ever. A write, and any answer of Remit, takes long only if the machine does.
const (
	peerPatience = 2 * time.Second
	patience     = 30 * time.Second
)

// A place is a world in a store of a server.
type place struct {
	target       *Target
	client       openfgav1.OpenFGAServiceClient
	store, model string
}

// settle puts a world into a new store. What the server says of the models and tuples is
// an answer too; ok tells whether it took them all.
func settle(ctx context.Context, target *Target, w *world) (p *place, answers []string, ok bool) {
	p = &place{target: target, client: openfgav1.NewOpenFGAServiceClient(target.Conn)}
	store, err := p.client.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "random"})
	if err != nil {
		return p, []string{refusal(err)}, false
	}
	p.store = store.GetId()
	if refused := p.write(ctx, w.model); refused != "" {
		return p, []string{refused}, false
	}
	for tuples := range slices.Chunk(w.tuples, 100) {
		request := &openfgav1.WriteRequest{Writes: &openfgav1.WriteRequestWrites{TupleKeys: tuples}}
		if answer := p.ask(ctx, request); answer != accepted {
			return p, []string{answer}, false
		}
	}
	if w.later != nil {
		if refused := p.write(ctx, w.later); refused != "" {
			return p, []string{refused}, false
		}
	}
	return p, nil, true
}

// write makes a model the current one, and returns "" if the server took it.
func (p *place) write(ctx context.Context, model *openfgav1.AuthorizationModel) string {
	response, err := p.client.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: p.store, SchemaVersion: model.GetSchemaVersion(), TypeDefinitions: model.GetTypeDefinitions(), Conditions: model.GetConditions(),
	})
	if err != nil {
		return refusal(err)
	}
	p.model = response.GetAuthorizationModelId()
	return ""
}

// leave deletes the store.
func (p *place) leave(ctx context.Context) error {
	_, err := p.client.DeleteStore(ctx, &openfgav1.DeleteStoreRequest{StoreId: p.store})
	return err
}

const (
	accepted = "accepted"
	tooSlow  = "too slow"
)

// refusal tells an error as it is compared.
func refusal(err error) string {
	s := status.Convert(err)
	switch s.Code() {
	case codes.DeadlineExceeded, codes.Code(openfgav1.InternalErrorCode_deadline_exceeded),
		codes.Code(openfgav1.UnprocessableContentErrorCode_throttled_timeout_error):
		return tooSlow
	}
	return fmt.Sprintf("code %d: %s", s.Code(), mask(s.Message()))
}

// ask puts a question and returns the answer in a form that is equal for equal answers.
func (p *place) ask(ctx context.Context, question proto.Message) string {
	limit := patience
	if _, writes := question.(*openfgav1.WriteRequest); !writes && p.target.Name == OpenFGA {
		limit = peerPatience
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	question = p.addressed(question)
	var answer string
	var err error
	switch q := question.(type) {
	case *openfgav1.CheckRequest:
		var r *openfgav1.CheckResponse
		r, err = p.client.Check(ctx, q)
		answer = verdict(r.GetAllowed())
	case *openfgav1.BatchCheckRequest:
		answer, err = p.batch(ctx, q)
	case *openfgav1.ListObjectsRequest:
		var r *openfgav1.ListObjectsResponse
		r, err = p.client.ListObjects(ctx, q)
		answer = set(r.GetObjects())
	case *openfgav1.StreamedListObjectsRequest:
		answer, err = p.stream(ctx, q)
	case *openfgav1.ListUsersRequest:
		var r *openfgav1.ListUsersResponse
		r, err = p.client.ListUsers(ctx, q)
		answer = users(r.GetUsers())
	case *openfgav1.ExpandRequest:
		var r *openfgav1.ExpandResponse
		r, err = p.client.Expand(ctx, q)
		var b strings.Builder
		tree(&b, r.GetTree().GetRoot(), "")
		answer = b.String()
	case *openfgav1.ReadRequest:
		answer, err = p.read(ctx, q)
	case *openfgav1.ReadChangesRequest:
		answer, err = p.changes(ctx, q)
	case *openfgav1.WriteRequest:
		_, err = p.client.Write(ctx, q)
		answer = accepted
	default:
		panic(fmt.Sprintf("no way to ask %T", question)) // our own mistake
	}
	if err != nil && ctx.Err() != nil {
		return tooSlow // whatever the server made of it
	}
	if err != nil {
		return refusal(err)
	}
	return answer
}

// addressed is the question to this store, under this model.
func (p *place) addressed(question proto.Message) proto.Message {
	question = proto.Clone(question)
	m := question.ProtoReflect()
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("store_id"), protoreflect.ValueOfString(p.store))
	if field := fields.ByName("authorization_model_id"); field != nil && m.Get(field).String() == currentModel {
		m.Set(field, protoreflect.ValueOfString(p.model))
	}
	return question
}

func verdict(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

// set tells a list whose order means nothing. An element that comes twice is told twice.
func set(elements []string) string {
	elements = slices.Clone(elements)
	slices.Sort(elements)
	return "[" + strings.Join(elements, " ") + "]"
}

func (p *place) batch(ctx context.Context, q *openfgav1.BatchCheckRequest) (string, error) {
	r, err := p.client.BatchCheck(ctx, q)
	if err != nil {
		return "", err
	}
	var lines []string
	for id, result := range r.GetResult() {
		line := id + ": " + verdict(result.GetAllowed())
		if e := result.GetError(); e != nil {
			code := int32(e.GetInputError())
			if code == 0 {
				code = int32(e.GetInternalError())
			}
			line = fmt.Sprintf("%s: code %d: %s", id, code, mask(e.GetMessage()))
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

func (p *place) stream(ctx context.Context, q *openfgav1.StreamedListObjectsRequest) (string, error) {
	stream, err := p.client.StreamedListObjects(ctx, q)
	if err != nil {
		return "", err
	}
	var objects []string
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return set(objects), nil
		}
		if err != nil {
			return "", err
		}
		objects = append(objects, r.GetObject())
	}
}

func users(all []*openfgav1.User) string {
	var names []string
	for _, u := range all {
		switch u := u.GetUser().(type) {
		case *openfgav1.User_Object:
			names = append(names, u.Object.GetType()+":"+u.Object.GetId())
		case *openfgav1.User_Userset:
			names = append(names, u.Userset.GetType()+":"+u.Userset.GetId()+"#"+u.Userset.GetRelation())
		case *openfgav1.User_Wildcard:
			names = append(names, u.Wildcard.GetType()+":*")
		}
	}
	return set(names)
}

// tree tells an expansion exactly, but for the order of users.
func tree(b *strings.Builder, n *openfgav1.UsersetTree_Node, indent string) {
	fmt.Fprintf(b, "%s%s", indent, n.GetName())
	children := func(operator string, nodes ...*openfgav1.UsersetTree_Node) {
		b.WriteString(" " + operator + "\n")
		for _, child := range nodes {
			tree(b, child, indent+"  ")
		}
	}
	switch v := n.GetValue().(type) {
	case *openfgav1.UsersetTree_Node_Union:
		children("union", v.Union.GetNodes()...)
	case *openfgav1.UsersetTree_Node_Intersection:
		children("intersection", v.Intersection.GetNodes()...)
	case *openfgav1.UsersetTree_Node_Difference:
		children("difference", v.Difference.GetBase(), v.Difference.GetSubtract())
	case *openfgav1.UsersetTree_Node_Leaf:
		switch leaf := v.Leaf.GetValue().(type) {
		case *openfgav1.UsersetTree_Leaf_Users:
			fmt.Fprintf(b, " users %s\n", set(leaf.Users.GetUsers()))
		case *openfgav1.UsersetTree_Leaf_Computed:
			fmt.Fprintf(b, " computed %s\n", leaf.Computed.GetUserset())
		case *openfgav1.UsersetTree_Leaf_TupleToUserset:
			var computed []string
			for _, c := range leaf.TupleToUserset.GetComputed() {
				computed = append(computed, c.GetUserset())
			}
			fmt.Fprintf(b, " from %s %s\n", leaf.TupleToUserset.GetTupleset(), set(computed))
		default:
			b.WriteString(" empty leaf\n")
		}
	default:
		b.WriteString(" nothing\n")
	}
}

// pages is more than any list here takes; a token that leads nowhere must not go on for ever.
const pages = 200

func (p *place) read(ctx context.Context, q *openfgav1.ReadRequest) (string, error) {
	var tuples []string
	for range pages {
		r, err := p.client.Read(ctx, q)
		if err != nil {
			return "", err
		}
		for _, t := range r.GetTuples() {
			tuples = append(tuples, keyText(t.GetKey())+stamped(t.GetTimestamp().IsValid()))
		}
		if size := q.GetPageSize().GetValue(); size > 0 && len(r.GetTuples()) > int(size) {
			return "a page too large", nil
		}
		if q.ContinuationToken = r.GetContinuationToken(); q.ContinuationToken == "" {
			slices.Sort(tuples)
			return strings.Join(tuples, "\n"), nil
		}
	}
	return "pages without end", nil
}

func stamped(valid bool) string {
	if valid {
		return ""
	}
	return " without a time"
}

func (p *place) changes(ctx context.Context, q *openfgav1.ReadChangesRequest) (string, error) {
	var changes []string
	for range pages {
		r, err := p.client.ReadChanges(ctx, q)
		if err != nil {
			return "", err
		}
		for _, c := range r.GetChanges() {
			changes = append(changes, changeText(c))
		}
		last := q.GetContinuationToken()
		if q.ContinuationToken = r.GetContinuationToken(); len(r.GetChanges()) == 0 {
			return fmt.Sprintf("%s\nthe token is %s", strings.Join(changes, "\n"), map[bool]string{true: "the same", false: "another"}[last == q.ContinuationToken]), nil
		}
	}
	return "pages without end", nil
}

func changeText(c *openfgav1.TupleChange) string {
	return c.GetOperation().String() + " " + keyText(c.GetTupleKey()) + stamped(c.GetTimestamp().IsValid())
}

func keyText(t *openfgav1.TupleKey) string {
	key := t.GetObject() + "#" + t.GetRelation() + "@" + t.GetUser()
	if c := t.GetCondition(); c != nil {
		key += " with " + c.GetName()
		if c.GetContext() != nil {
			key += " " + canonical(c.GetContext())
		}
	}
	return key
}

// canonical is a message's JSON with sorted names and no chance spaces.
func canonical(m proto.Message) string {
	content, err := protojson.Marshal(m)
	if err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	var value any
	if err := json.Unmarshal(content, &value); err != nil {
		return err.Error()
	}
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}
