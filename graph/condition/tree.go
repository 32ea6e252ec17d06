package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
)

// maxCollections bounds the lists and maps that an expression writes down and the loops
// that it has. Each of them makes a type, and the time that CEL takes to check types
// grows with the cube of how many are made of one another: 240 loops in a row, three
// kilobytes of text, take minutes.
const maxCollections = 64

// collections counts what maxCollections bounds.
func collections(e ast.Expr) int {
	n := 0
	switch e.Kind() {
	case ast.ListKind, ast.MapKind, ast.ComprehensionKind:
		n++
	}
	for _, operand := range operands(e) {
		n += collections(operand)
	}
	return n
}

func hasLoop(e ast.Expr) bool {
	return e.Kind() == ast.ComprehensionKind || slices.ContainsFunc(operands(e), hasLoop)
}

// variables calls visit for each variable that an expression reads, perhaps more than
// once. Those that a loop binds itself, which are bound, are not read.
func variables(e ast.Expr, bound []string, visit func(name string)) {
	if e.Kind() == ast.IdentKind && !slices.Contains(bound, e.AsIdent()) {
		visit(e.AsIdent())
	}
	if e.Kind() == ast.ComprehensionKind {
		loop := e.AsComprehension()
		inner := append(slices.Clip(bound), loop.IterVar(), loop.AccuVar())
		if loop.HasIterVar2() {
			inner = append(inner, loop.IterVar2())
		}
		// What the loop runs over knows nothing of the loop.
		variables(loop.IterRange(), bound, visit)
		for _, part := range loopParts(loop) {
			variables(part, inner, visit)
		}
		return
	}
	for _, operand := range operands(e) {
		variables(operand, bound, visit)
	}
}

// operands are the expressions that an expression is made of.
func operands(e ast.Expr) []ast.Expr {
	var all []ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		all = append(all, e.AsSelect().Operand())
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			all = append(all, e.AsCall().Target())
		}
		all = append(all, e.AsCall().Args()...)
	case ast.ListKind:
		all = e.AsList().Elements()
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			all = append(all, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			all = append(all, field.AsStructField().Value())
		}
	case ast.ComprehensionKind:
		all = append(loopParts(e.AsComprehension()), e.AsComprehension().IterRange())
	}
	return all
}

// loopParts are the expressions that may use what a loop binds.
func loopParts(loop ast.ComprehensionExpr) []ast.Expr {
	return []ast.Expr{loop.AccuInit(), loop.LoopCondition(), loop.LoopStep(), loop.Result()}
}
