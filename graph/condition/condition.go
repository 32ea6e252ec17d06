// Package condition evaluates the conditions of tuples: CEL expressions over typed
// parameters, whose values come from the context stored with the tuple and from the
// context of the request.
//
// The language and its types are those of OpenFGA's conditions: CEL's standard library,
// the type ipaddress with its method in_cidr and the function ipaddress(string). Remit
// adds on_schedule(schedule, timestamp), which tells whether working hours are open (see
// package schedule).
//
// A tuple may also bring an expression of its own in its stored context: see Inline.
//
// Three rules:
//
//   - A value of the stored context wins over one of the request.
//   - A parameter that has no value is an error only if the answer depends on it: with
//     a true, a || b needs no b.
//   - An evaluation that has no answer is an error, never false.
package condition

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/remit-authz/remit/graph/value"
)

const (
	// MaxExpression bounds an expression in bytes. OpenFGA allows 512; a long list of
	// cases is still readable at this size.
	MaxExpression = 16 << 10

	// MaxParameters bounds the parameters of a condition. OpenFGA allows 25.
	MaxParameters = 64

	// MaxName bounds the name of a parameter in characters, as OpenFGA does.
	MaxName = 50

	// maxNesting bounds how deep an expression nests, so that compiling it needs little
	// stack. It is OpenFGA's limit, and the default of CEL.
	maxNesting = 250

	// DefaultCostLimit bounds the cost of one evaluation, in CEL's units: about one for
	// each operation and for each ten bytes of text that one reads. OpenFGA's default of
	// 100 refuses a handful of time zone computations; this one allows a list of some
	// thousand elements and still ends within a few milliseconds.
	DefaultCostLimit = 10_000

	// interruptEvery is the number of iterations of a comprehension between two looks
	// at the context: often enough to stop within microseconds.
	interruptEvery = 100
)

// Now is the parameter that stands for the instant of the question: see Request.
const Now = "now"

// A Condition is a compiled condition. It is immutable and safe for concurrent use.
type Condition struct {
	name       string
	expression string
	parameters []Parameter
	index      map[string]int // places in parameters, by name
	now        int            // place of the timestamp parameter now, or -1
	patterns   []*cel.AttributePatternType
	program    cel.Program
	loops      bool // has a comprehension, so evaluation may take long
}

// base declares what every condition may use. Building it takes milliseconds, so it is
// done once and extended by the parameters of each condition.
var base = mustEnv(cel.NewEnv(
	cel.EagerlyValidateDeclarations(true),
	cel.ParserExpressionSizeLimit(MaxExpression),
	cel.ParserRecursionLimit(maxNesting),
	ipAddressFunctions(),
	scheduleFunction(),
))

func mustEnv(env *cel.Env, err error) *cel.Env {
	if err != nil {
		panic(fmt.Sprintf("condition: base environment: %v", err))
	}
	return env
}

// Compile checks and compiles an expression, which must yield a bool. An error is a
// *CompileError.
func Compile(name, expression string, parameters []Parameter) (*Condition, error) {
	c := newCondition(name, expression, parameters)
	tree, err := c.parse()
	if err != nil {
		return nil, err
	}
	if err := c.compile(tree); err != nil {
		return nil, err
	}
	return c, nil
}

func newCondition(name, expression string, parameters []Parameter) *Condition {
	return &Condition{name: name, expression: expression, parameters: slices.Clone(parameters), now: -1}
}

// parse reads the expression, which needs no parameters yet.
func (c *Condition) parse() (*cel.Ast, error) {
	if len(c.expression) > MaxExpression {
		return nil, c.fault("the expression is longer than %d bytes", MaxExpression)
	}
	tree, issues := base.ParseSource(common.NewStringSource(c.expression, c.name))
	if err := issues.Err(); err != nil {
		return nil, compileError(c.name, issues, err, true)
	}
	if collections(tree.NativeRep().Expr()) > maxCollections {
		return nil, c.fault("the expression has more than %d lists, maps and loops", maxCollections)
	}
	return tree, nil
}

// compile checks the expression against the parameters and makes the program.
func (c *Condition) compile(tree *cel.Ast) error {
	options, err := c.declare()
	if err != nil {
		return err
	}
	env, err := base.Extend(options...)
	if err != nil {
		return c.refusal(err, "declare parameters: %v", err)
	}
	tree, issues := env.Check(tree)
	if err := issues.Err(); err != nil {
		return compileError(c.name, issues, err, false)
	}
	c.loops = hasLoop(tree.NativeRep().Expr())
	program := []cel.ProgramOption{
		cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval),
		cel.InterruptCheckFrequency(interruptEvery),
	}
	// Counting the cost takes about as long as a small expression itself, so it is left
	// out where the count cannot reach the limit.
	estimate, err := env.EstimateCost(tree, unknownSizes{})
	if err != nil || c.loops || estimate.Max > DefaultCostLimit {
		program = append(program, cel.CostLimit(DefaultCostLimit))
	}
	c.program, err = env.Program(tree, program...)
	if err != nil {
		return c.refusal(fmt.Errorf("condition expression construction: %w", err), "%v", err)
	}
	if out := tree.OutputType(); !out.IsExactType(cel.BoolType) {
		e := c.refusal(nil, "the expression yields %s, not bool", out)
		e.Yields = out.String()
		return e
	}
	return nil
}

// declare checks the parameters and tells CEL about them.
func (c *Condition) declare() ([]cel.EnvOption, error) {
	if len(c.parameters) > MaxParameters {
		return nil, c.fault("more than %d parameters", MaxParameters)
	}
	c.index = make(map[string]int, len(c.parameters))
	options := make([]cel.EnvOption, 0, len(c.parameters))
	for i, p := range c.parameters {
		if p.Name == "" || utf8.RuneCountInString(p.Name) > MaxName || strings.ContainsAny(p.Name, ":#@ \t\r\n") {
			return nil, c.fault("%q is no name for a parameter", p.Name)
		}
		if _, twice := c.index[p.Name]; twice {
			return nil, c.fault("parameter %s is declared twice", p.Name)
		}
		if err := p.Type.check(1); err != nil {
			return nil, c.fault("parameter %s: %v", p.Name, err)
		}
		c.index[p.Name] = i
		if p.Name == Now && p.Type.Kind == KindTimestamp {
			c.now = i
		}
		c.patterns = append(c.patterns, cel.AttributePattern(p.Name))
		options = append(options, cel.Variable(p.Name, p.Type.cel()))
	}
	return options, nil
}

func (c *Condition) fault(format string, args ...any) error {
	return c.refusal(nil, format, args...)
}

// refusal is a fault that err is the cause of, or nil.
func (c *Condition) refusal(err error, format string, args ...any) *CompileError {
	return &CompileError{Condition: c.name, Faults: []Fault{{Message: fmt.Sprintf(format, args...)}}, Err: err}
}

// Name is the condition's name.
func (c *Condition) Name() string { return c.name }

// Parameters are the condition's parameters in the order of their declaration, none for
// Inline. The caller must not change the slice.
func (c *Condition) Parameters() []Parameter { return c.parameters }

// Expression is the expression as it was written, empty for Inline.
func (c *Condition) Expression() string { return c.expression }

// ExpressionFor is the expression that judges tuples with a stored context: of Inline,
// what the context holds.
func (c *Condition) ExpressionFor(stored *Context) string {
	if c == Inline {
		expression, _ := stored.Fields()[inlineExpression].(string)
		return expression
	}
	return c.expression
}

// CheckContext reports whether the fields may be stored with a tuple under this
// condition: each is a parameter and has its type. Parameters may be absent, for the
// request to bring. An error is an *UnknownError or a *TypeError, of Inline an
// *InlineError or a *CompileError.
func (c *Condition) CheckContext(fields value.Map) error {
	if c == Inline {
		return checkInline(fields)
	}
	for name := range fields {
		if _, ok := c.index[name]; !ok {
			return &UnknownError{Condition: c.name, Parameter: firstUnknown(c, fields)}
		}
	}
	_, err := c.convert(fields)
	return err
}

// firstUnknown makes the error independent of the order of a map.
func firstUnknown(c *Condition, fields value.Map) string {
	first := ""
	for name := range fields {
		if _, ok := c.index[name]; !ok && (first == "" || name < first) {
			first = name
		}
	}
	return first
}

// convert gives each parameter its value out of fields, nil where there is none. Fields
// that are no parameters are for other conditions.
func (c *Condition) convert(fields value.Map) ([]ref.Val, error) {
	values := make([]ref.Val, len(c.parameters))
	for i, p := range c.parameters {
		v, ok := fields[p.Name]
		if !ok {
			continue
		}
		converted, err := p.Type.convert(v)
		if err != nil {
			err.Condition, err.Parameter = c.name, p.Name+err.Parameter
			return nil, err
		}
		values[i] = converted
	}
	return values, nil
}

// convertAll is convert for fields of which some may not be used in the end: a value of
// the wrong type becomes a CEL error in its place.
func (c *Condition) convertAll(fields value.Map) []ref.Val {
	values := make([]ref.Val, len(c.parameters))
	for i, p := range c.parameters {
		v, ok := fields[p.Name]
		if !ok {
			continue
		}
		converted, err := p.Type.convert(v)
		if err != nil {
			err.Condition, err.Parameter = c.name, p.Name+err.Parameter
			converted = types.WrapErr(err)
		}
		values[i] = converted
	}
	return values
}

// unknownSizes makes CEL take texts, lists and maps for boundless when it estimates costs.
type unknownSizes struct{}

func (unknownSizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (unknownSizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// adapter turns Go values into those of CEL where CEL asks for it; ours are CEL values
// already.
var adapter types.Adapter = types.DefaultTypeAdapter
