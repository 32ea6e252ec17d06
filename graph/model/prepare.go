package model

import "strings"

// maxBlankLines bounds the empty lines in a row within the expression of a condition,
// where they cannot be taken away without knowing CEL.
const maxBlankLines = 200

// lineEnds makes every end of line the same, so that no two readers of a text can
// disagree about its lines.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\f", " ")

// A prepared text says the same as the original, in a form that OpenFGA's parser reads
// in linear time. As it is, the parser takes time quadratic in the number of empty lines
// in a row, which comments become too, and quadratic in the depth of parentheses that
// stand directly in parentheses, with a factor that lets a small text occupy it for
// minutes.
type prepared struct {
	text  string
	lines []int // the original line of each line
}

// original is the line of the original text, from one, for one of the prepared text.
func (p *prepared) original(line int) int {
	if line < 1 || line > len(p.lines) {
		return line
	}
	return p.lines[line-1]
}

// A span is a part of a text, by its offsets.
type span struct{ from, to int }

// prepare takes away the empty lines outside of keep, and the characters at the offsets
// in blank, which it replaces by spaces. Both are in the order of the text.
func prepare(text string, keep []span, blank []int) *prepared {
	p := &prepared{}
	var b strings.Builder
	b.Grow(len(text))
	offset, line := 0, 0
	for part := range strings.Lines(text) {
		line++
		from := offset
		offset += len(part)
		for len(keep) > 0 && keep[0].to <= from {
			keep = keep[1:]
		}
		kept := len(keep) > 0 && keep[0].from < offset
		if !kept && strings.Trim(part, " \t\n") == "" {
			continue
		}
		for len(blank) > 0 && blank[0] < offset {
			b.WriteString(text[from:blank[0]])
			b.WriteByte(' ')
			from = blank[0] + 1
			blank = blank[1:]
		}
		b.WriteString(text[from:offset])
		p.lines = append(p.lines, line)
	}
	p.text = b.String()
	return p
}
