package model

import (
	"strings"
	"unicode/utf8"
)

// A token is one word or mark of the modelling language.
type token struct {
	kind   tokenKind
	text   string
	at     place
	offset int
	spaced bool // white space stands before it
}

type tokenKind uint8

const (
	tokenEnd  tokenKind = iota // of the text
	tokenLine                  // one or more ends of line
	tokenWord                  // a name, a keyword or a number
	tokenMark                  // any other character
)

// A scanner reads tokens, counting lines and columns. Columns count characters, not
// bytes, as editors do.
type scanner struct {
	file         string
	text         string
	offset       int
	line, column int
}

// newScanner scans text as OpenFGA's parser sees it: without comments, which leaves
// every other character at its place.
func newScanner(file, text string) *scanner {
	return &scanner{file: file, text: stripComments(text), line: 1, column: 1}
}

// stripComments takes away what OpenFGA's parser takes away before it looks at anything
// else: lines that begin with a hash, and ends of lines from a hash that follows a space.
func stripComments(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(strings.TrimLeft(line, " "), "#"):
			lines[i] = ""
		default:
			line, _, _ = strings.Cut(line, " #")
			lines[i] = strings.TrimRight(line, " ")
		}
	}
	return strings.Join(lines, "\n")
}

func (s *scanner) here() place { return place{s.file, s.line, s.column} }

func (s *scanner) peek() rune {
	if s.offset >= len(s.text) {
		return 0
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.offset:])
	return r
}

func (s *scanner) done() bool { return s.offset >= len(s.text) }

// advance steps over one character.
func (s *scanner) advance() {
	r, size := utf8.DecodeRuneInString(s.text[s.offset:])
	s.offset += size
	if r == '\n' {
		s.line++
		s.column = 1
	} else {
		s.column++
	}
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\f' || r == '\r' }

func isWordStart(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func isWordPart(r rune) bool { return isWordStart(r) || r == '-' || r == '.' || r == '/' }

// next reads a token.
func (s *scanner) next() token {
	start := s.offset
	for !s.done() && isBlank(s.peek()) {
		s.advance()
	}
	t := token{at: s.here(), offset: s.offset, spaced: s.offset > start}
	switch {
	case s.done():
		t.kind = tokenEnd
	case s.peek() == '\n':
		t.kind = tokenLine
		for !s.done() && (s.peek() == '\n' || isBlank(s.peek())) {
			s.advance()
		}
	case isWordStart(s.peek()):
		t.kind = tokenWord
		from := s.offset
		for !s.done() && isWordPart(s.peek()) {
			s.advance()
		}
		t.text = s.text[from:s.offset]
	default:
		t.kind = tokenMark
		from := s.offset
		s.advance()
		t.text = s.text[from:s.offset]
	}
	return t
}

// expression steps over the expression of a condition, to behind the brace that ends
// it, and returns where its first character stands. Braces in strings and in comments
// do not end it.
func (s *scanner) expression() (at place, closed bool) {
	for !s.done() && (isBlank(s.peek()) || s.peek() == '\n') {
		s.advance()
	}
	at = s.here()
	for !s.done() {
		rest := s.text[s.offset:]
		switch r := s.peek(); {
		case r == '}':
			s.advance()
			return at, true
		case strings.HasPrefix(rest, "//"):
			for !s.done() && s.peek() != '\n' {
				s.advance()
			}
		case r == '"' || r == '\'':
			raw := s.offset > 0 && (s.text[s.offset-1] == 'r' || s.text[s.offset-1] == 'R')
			s.quoted(raw)
		default:
			s.advance()
		}
	}
	return at, false
}

// quoted steps over a string literal.
func (s *scanner) quoted(raw bool) {
	quote := s.text[s.offset : s.offset+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.offset:], long) {
		quote = long
	}
	for range len(quote) {
		s.advance()
	}
	for !s.done() {
		switch {
		case strings.HasPrefix(s.text[s.offset:], quote):
			for range len(quote) {
				s.advance()
			}
			return
		case s.peek() == '\n' && len(quote) == 1:
			return // an unclosed string ends with its line
		case s.peek() == '\\' && !raw:
			s.advance()
			if !s.done() && s.peek() != '\n' {
				s.advance()
			}
		default:
			s.advance()
		}
	}
}
