package fsm

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph/value"
)

// A text mentions a name if it holds it as a whole word. What joins the parts of a name
// belongs to the word, since "anna-marie", "anna.smith" and "anna@example.com" are other
// names than "anna"; what stands between names does not: "user:anna#friend", "anna's".

// joiners make one word of two only if there is a letter or a digit on the other side.
const joiners = "-.@+"

// Mentioned reports whether a text mentions a name, by the rule that an erasure goes by.
func Mentioned(text, name string) bool { return name != "" && mentions(text, name) }

// mentions reports whether a text mentions a name, which is not empty.
func mentions(text, name string) bool {
	for from := 0; ; from++ {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		from += i
		if begins(text[:from]) && ends(text[from+len(name):]) {
			return true
		}
	}
}

// begins reports whether a word can begin behind a text.
func begins(before string) bool {
	r, n := utf8.DecodeLastRuneInString(before)
	if strings.ContainsRune(joiners, r) {
		r, _ = utf8.DecodeLastRuneInString(before[:len(before)-n])
	}
	return !inWord(r)
}

// ends reports whether a word can end in front of a text.
func ends(after string) bool {
	r, n := utf8.DecodeRuneInString(after)
	if strings.ContainsRune(joiners, r) {
		r, _ = utf8.DecodeRuneInString(after[n:])
	}
	return !inWord(r)
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r))
}

// fieldsMention reports whether a stored context or document mentions a name, in a string
// or in a field's own name. Most rows do not have its bytes, and are not decoded.
func fieldsMention(encoded []byte, name string) bool {
	if len(encoded) == 0 || !bytes.Contains(encoded, []byte(name)) {
		return false
	}
	fields, err := value.Decode(encoded)
	return err != nil || valueMentions(fields, name) // what cannot be read must not stay
}

func valueMentions(v value.Value, name string) bool {
	switch v := v.(type) {
	case string:
		return mentions(v, name)
	case value.List:
		for _, x := range v {
			if valueMentions(x, name) {
				return true
			}
		}
	case value.Map:
		for k, x := range v { // in any order: the answer is the same
			if mentions(k, name) || valueMentions(x, name) {
				return true
			}
		}
	}
	return false
}
