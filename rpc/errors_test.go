package rpc

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// sentinels are the exported errors of the packages below, by package and name. The
// value says whether clients may see it: what they may not see is either a bug or
// turned into another error on the way, and answered as an internal error.
var sentinels = map[string]struct {
	err     error
	visible bool
}{
	"cluster.ErrNoLeader":       {cluster.ErrNoLeader, true},
	"cluster.ErrUnknownOutcome": {cluster.ErrUnknownOutcome, true},
	"cluster.ErrTooLarge":       {cluster.ErrTooLarge, true},
	"cluster.ErrOverloaded":     {cluster.ErrOverloaded, true},
	"cluster.ErrShuttingDown":   {cluster.ErrShuttingDown, true},
	"cluster.ErrReadOnly":       {cluster.ErrReadOnly, true},
	"cluster.ErrKeepsLog":       {cluster.ErrKeepsLog, false}, // an erasure only tells its text, as why files wait
	"cluster.ErrMembership":     {cluster.ErrMembership, true},

	"fsm.ErrInvalid":             {fsm.ErrInvalid, false}, // we made the command
	"fsm.ErrTooLarge":            {fsm.ErrTooLarge, true},
	"fsm.ErrStoreNotFound":       {fsm.ErrStoreNotFound, true},
	"fsm.ErrStoreExists":         {fsm.ErrStoreExists, false}, // ids are random
	"fsm.ErrModelExists":         {fsm.ErrModelExists, false}, // ids are random
	"fsm.ErrSymbol":              {fsm.ErrSymbol, false},      // ids come from the state
	"fsm.ErrDuplicate":           {fsm.ErrDuplicate, true},
	"fsm.ErrTupleExists":         {fsm.ErrTupleExists, true},
	"fsm.ErrTupleNotFound":       {fsm.ErrTupleNotFound, false}, // no write of this API asks for it
	"fsm.ErrTupleDiffers":        {fsm.ErrTupleDiffers, false},  // likewise
	"fsm.ErrModelNotFound":       {fsm.ErrModelNotFound, false}, // likewise
	"fsm.ErrPrecondition":        {fsm.ErrPrecondition, true},
	"fsm.ErrScope":               {fsm.ErrScope, true},
	"fsm.ErrIdempotencyConflict": {fsm.ErrIdempotencyConflict, true},
	"fsm.ErrManaged":             {fsm.ErrManaged, true},
	"fsm.ErrVersion":             {fsm.ErrVersion, true},
	"fsm.ErrErasing":             {fsm.ErrErasing, true},
	"fsm.ErrErasureNotFound":     {fsm.ErrErasureNotFound, false}, // no request names an erasure
	"fsm.ErrExhausted":           {fsm.ErrExhausted, true},
	"fsm.ErrHorizon":             {fsm.ErrHorizon, false}, // no request moves one
	"fsm.ErrRevisionGone":        {fsm.ErrRevisionGone, true},
	"fsm.ErrRevisionUnknown":     {fsm.ErrRevisionUnknown, true},
	"fsm.ErrBackups":             {fsm.ErrBackups, true},
	"fsm.ErrNoBackup":            {fsm.ErrNoBackup, false},    // folders are no business of the API
	"fsm.ErrInterrupted":         {fsm.ErrInterrupted, false}, // as cluster.ErrKeepsLog
	"fsm.ErrNoRoom":              {fsm.ErrNoRoom, false},      // likewise
	"fsm.ErrNoSnapshot":          {fsm.ErrNoSnapshot, false},  // likewise
	"fsm.ErrClosed":              {fsm.ErrClosed, true},
	"fsm.ErrCorrupt":             {fsm.ErrCorrupt, false},

	"graph.ErrInvalid":           {graph.ErrInvalid, true},
	"graph.ErrTypeNotFound":      {graph.ErrTypeNotFound, true},
	"graph.ErrRelationNotFound":  {graph.ErrRelationNotFound, true},
	"graph.ErrConditionNotFound": {graph.ErrConditionNotFound, true},
	"graph.ErrNotAllowed":        {graph.ErrNotAllowed, true},
	"graph.ErrUnknownEntity":     {graph.ErrUnknownEntity, false},
	"graph.ErrBudget":            {graph.ErrBudget, true},
	"graph.ErrUndefined":         {graph.ErrUndefined, true},
	"graph.ErrDepth":             {graph.ErrDepth, false}, // no question of this API has a MaxDepth

	"condition.ErrCost":     {condition.ErrCost, true},
	"condition.ErrTooLarge": {condition.ErrTooLarge, true},

	"model.ErrInvalid":       {model.ErrInvalid, true},
	"model.ErrUndefined":     {model.ErrUndefined, false},     // the state knows every name of its models
	"model.ErrTableFull":     {model.ErrTableFull, false},     // the state machine says ErrExhausted
	"model.ErrInexpressible": {model.ErrInexpressible, false}, // the JSON is there as well

	"backend.ErrRequest":          {backend.ErrRequest, true},
	"rpc.ErrTooLarge":             {ErrTooLarge, true},
	"backend.ErrStoreNotFound":    {backend.ErrStoreNotFound, true},
	"backend.ErrStoreAmbiguous":   {backend.ErrStoreAmbiguous, true},
	"backend.ErrModelNotFound":    {backend.ErrModelNotFound, true},
	"rpc.ErrContext":              {ErrContext, true},
	"rpc.ErrDuplicateOperation":   {ErrDuplicateOperation, true},
	"backend.ErrNotReached":       {backend.ErrNotReached, true},
	"backend.ErrOtherEpoch":       {backend.ErrOtherEpoch, true},
	"backend.ErrKeyNotFound":      {backend.ErrKeyNotFound, true},
	"backend.ErrKeyExists":        {backend.ErrKeyExists, true},
	"backend.ErrAborted":          {backend.ErrAborted, true},
	"identity.ErrUnauthenticated": {identity.ErrUnauthenticated, true},
	"identity.ErrForbidden":       {identity.ErrForbidden, true},
	"gate.ErrIssuer":              {gate.ErrIssuer, true},
	"identity.ErrNoCredentials":   {identity.ErrNoCredentials, true},
	"identity.ErrExpired":         {identity.ErrExpired, true},
	"identity.ErrNotMine":         {identity.ErrNotMine, false}, // the gate asks the next
	"identity.ErrGrant":           {identity.ErrGrant, true},
	"token.ErrInvalid":            {token.ErrInvalid, true},
	"rpc.ErrCursor":               {ErrCursor, true},
	"rpc.ErrCursorExpired":        {ErrCursorExpired, true},
	"rpc.ErrMentioned":            {ErrMentioned, true},
	"rpc.ErrUnexpectedCount":      {ErrUnexpectedCount, true},
	"limit.ErrRate":               {limit.ErrRate, true},
	"limit.ErrQueue":              {limit.ErrQueue, true},
	"rpc.ErrInstant":              {ErrInstant, true},
	"crm.ErrInvalid":              {crm.ErrInvalid, true},
	"crm.ErrTooLarge":             {crm.ErrTooLarge, true},
	"crm.ErrForeign":              {crm.ErrForeign, false}, // of a managed store: we wrote it
	"rpc.ErrBusy":                 {ErrBusy, true},
	"rpc.ErrNoOrganisation":       {ErrNoOrganisation, true},
	"rpc.ErrEntityNotFound":       {ErrEntityNotFound, true},
	"rpc.ErrSlowReader":           {ErrSlowReader, true},
	"rpc.ErrDraining":             {ErrDraining, true},
}

// Whoever exports an error decides here what clients see of it.
func TestEveryExportedErrorHasItsPlace(t *testing.T) {
	found := map[string]bool{}
	for _, dir := range []string{"../cluster", "../fsm", "../graph", "../graph/condition", "../graph/crm", "../graph/model", "backend", "gate", "identity", "limit", "token", "."} {
		pkg := filepath.Base(dir)
		if dir == "." {
			pkg = "rpc"
		}
		for _, name := range exportedErrors(t, dir) {
			found[pkg+"."+name] = true
		}
	}
	for name := range found {
		if _, ok := sentinels[name]; !ok {
			t.Errorf("%s is exported, and the test does not say what clients see of it", name)
		}
	}
	for name, s := range sentinels {
		if !found[name] {
			t.Errorf("%s is not exported any more", name)
		}
		w, ok := find(fmt.Errorf("wrapped: %w", s.err))
		if ok != s.visible {
			t.Errorf("%s stands in the table: %v, want %v", name, ok, s.visible)
		}
		if ok && (w.code == 0 || w.reason == 0) {
			t.Errorf("%s has code %d and reason %d", name, w.code, w.reason)
		}
		if ok && w.err != nil && !errors.Is(s.err, w.err) {
			t.Errorf("%s is shadowed by %v", name, w.err)
		}
	}
}

// exportedErrors lists the variables Err… of a package.
func exportedErrors(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), filepath.Join(dir, entry.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != gotoken.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// Each reason is given by some line of the table or by a transport, and a reason that
// nothing gives is not promised.
func TestEveryReasonIsGiven(t *testing.T) {
	given := map[remitv1.ErrorReason]bool{
		remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED: true,
	}
	for _, w := range wireErrors {
		given[w.reason] = true
	}
	for number, name := range remitv1.ErrorReason_name {
		if !given[remitv1.ErrorReason(number)] {
			t.Errorf("no error has the reason %s", name)
		}
	}
}

func TestErrorTextsStayShort(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x", 5000), strings.Repeat("ü", 3000), "a" + strings.Repeat("日本", 1000)} {
		got := shorten(text)
		if len(got) > maxErrorText+32 || !utf8.ValidString(got) || len(text) <= maxErrorText && got != text {
			t.Errorf("shorten of %d bytes: %d bytes, valid %v", len(text), len(got), utf8.ValidString(got))
		}
	}
}

func TestAnUnforeseenErrorStaysInside(t *testing.T) {
	ce, detail := wire(t.Context(), discard(), "Check", errors.New("read /var/lib/secret: broken"))
	if ce.Code() != connect.CodeInternal || ce.Message() != "internal error" || detail != nil {
		t.Errorf("wire = %v, %v", ce, detail)
	}
	broken := connect.NewServer(errorInterceptor(discard()))
	broken.Register(connect.Method{
		Spec:    connect.Spec{Procedure: "/a.B/C"},
		Handler: func(context.Context, connect.Spec, connect.ServerStream) error { panic("oh") },
	})
	err := broken.Call(t.Context(), "/a.B/C", nil, nil)
	if ce := asConnect(err); ce == nil || ce.Code() != connect.CodeInternal || ce.Message() != "internal error" {
		t.Errorf("a panic = %v", err)
	}
	abandoned := fmt.Errorf("%w: %w", cluster.ErrUnknownOutcome, context.DeadlineExceeded)
	if _, detail := wire(t.Context(), discard(), "Write", abandoned); detail.GetReason() != remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME {
		t.Errorf("a write that nobody waited for = %v", detail)
	}
}
