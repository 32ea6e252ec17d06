package model

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
)

// ParseDSL reads a model in OpenFGA's modelling language. File is the name by which its
// faults call it. Every error is an *Error.
func ParseDSL(file, text string) (*Model, error) {
	message, _, outliner, err := parseText(file, text)
	if err != nil {
		return nil, err
	}
	if outliner.outline.module != "" {
		var found faults
		found.add(outliner.outline.header, "", "", "this is the module %s, not a whole model: load it with the others that its fga.mod lists",
			outliner.outline.module)
		return nil, found.err(file)
	}
	return build(message, outliner.outline)
}

// parseText reads a whole model or one module. The syntax is OpenFGA's to judge; where
// it refuses a text, our words are preferred to those of a generated parser.
func parseText(file, text string) (*openfgav1.AuthorizationModel, map[string]*openfgav1.TypeDefinition, *outliner, error) {
	var found faults
	if len(text) > MaxText {
		found.add(place{file: file}, "", "", "the text has %d bytes, and at most %d can be read: split the model or shorten it", len(text), MaxText)
		return nil, nil, nil, found.err(file)
	}
	outliner := outlineText(file, lineEnds.Replace(text))
	if outliner.refused {
		return nil, nil, nil, outliner.found.err(file)
	}
	slices.Sort(outliner.parentheses)
	prepared := prepare(outliner.scanner.text, outliner.bodies, outliner.parentheses)
	message, extensions, err := transform(prepared.text)
	if err == nil {
		return message, extensions, outliner, nil
	}
	if len(outliner.found.list) > 0 {
		return nil, nil, nil, outliner.found.err(file)
	}
	var refused *transformer.OpenFgaDslSyntaxMultipleError
	if errors.As(err, &refused) {
		for _, one := range refused.Errors {
			at, what := syntaxFault(file, one)
			at.line = prepared.original(at.line)
			found.add(at, "", "", "%s", what)
		}
	} else {
		found.add(place{file: file}, "", "", "%v", err)
	}
	return nil, nil, nil, found.err(file)
}

// transform calls OpenFGA's parser. The parser goes on after a fault of syntax with a
// tree that has holes, and some of its listeners dereference them; such a panic is
// always the consequence of bad input, and never leaves anything behind.
func transform(text string) (message *openfgav1.AuthorizationModel, extensions map[string]*openfgav1.TypeDefinition, err error) {
	defer func() {
		if r := recover(); r != nil {
			message, extensions = nil, nil
			err = fmt.Errorf("the text cannot be read: compare it with the model's grammar (%v)", r)
		}
	}()
	return transformer.TransformModularDSLToProto(text)
}

// syntaxPattern is how OpenFGA's parser prints a fault, whose fields it keeps to
// itself: the line and the column are counted from zero.
var syntaxPattern = regexp.MustCompile(`(?s)^syntax error at line=(\d+), column=(\d+): (.*)$`)

// syntaxFault translates a fault of OpenFGA's parser.
func syntaxFault(file string, err error) (place, string) {
	parts := syntaxPattern.FindStringSubmatch(err.Error())
	if parts == nil {
		return place{file: file}, err.Error()
	}
	line, _ := strconv.Atoi(parts[1])
	column, _ := strconv.Atoi(parts[2])
	return place{file, line + 1, column + 1}, syntaxMessage(parts[3])
}

var (
	unexpectedPattern   = regexp.MustCompile(`(?s)^(?:mismatched|extraneous) input '(.*)' expecting (.*)$`)
	missingPattern      = regexp.MustCompile(`(?s)^missing (.*) at '(.*)'$`)
	noAlternative       = regexp.MustCompile(`(?s)^no viable alternative at input '(.*)'$`)
	unrecognizedPattern = regexp.MustCompile(`(?s)^token recognition error at: '(.*)'$`)
)

// syntaxMessage puts a generated parser's message into words.
func syntaxMessage(message string) string {
	if m := unexpectedPattern.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("unexpected %s: %s should stand here", quoteInput(m[1]), expected(m[2]))
	}
	if m := missingPattern.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("unexpected %s: %s is missing before it", quoteInput(m[2]), expected(m[1]))
	}
	if m := noAlternative.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("unexpected %s: no line of a model continues like this", quoteInput(m[1]))
	}
	if m := unrecognizedPattern.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s cannot stand here: names consist of letters, digits, _ and -", quoteInput(m[1]))
	}
	return message
}

func quoteInput(input string) string {
	switch trimmed := strings.TrimSpace(strings.NewReplacer(`\n`, "\n", `\r`, "", `\t`, "\t").Replace(input)); {
	case input == "<EOF>":
		return "end of the text"
	case trimmed == "" && (strings.Contains(input, `\n`) || strings.ContainsAny(input, "\r\n")):
		return "end of the line"
	case trimmed == "":
		return "space"
	default:
		return strconv.Quote(trimmed)
	}
}

// tokenWords are the names of OpenFGA's tokens, in words.
var tokenWords = map[string]string{
	"<EOF>":                     "the end of the text",
	"NEWLINE":                   "the end of the line",
	"WHITESPACE":                "a space",
	"IDENTIFIER":                "a name",
	"EXTENDED_IDENTIFIER":       "a name",
	"SCHEMA_VERSION":            "a version such as 1.1",
	"CONDITION_PARAM_TYPE":      "the type of a parameter",
	"CONDITION_PARAM_CONTAINER": "list or map",
}

// expected puts a set of tokens such as {':', WHITESPACE} into words. Keywords that are
// names too are left out next to a name.
func expected(set string) string {
	items := strings.Split(strings.Trim(set, "{}"), ", ")
	var words []string
	seen := map[string]bool{}
	anyName := strings.Contains(set, "IDENTIFIER")
	for _, item := range items {
		word, known := tokenWords[item]
		if !known {
			word = strings.Trim(item, "'")
			if anyName && digitsOrLetters(word) {
				continue
			}
		}
		if !seen[word] {
			seen[word] = true
			words = append(words, word)
		}
	}
	return strings.Join(words, " or ")
}

func digitsOrLetters(s string) bool {
	for _, r := range s {
		if !isWordPart(r) {
			return false
		}
	}
	return s != ""
}
