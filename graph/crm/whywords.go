package crm

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph"
)

// listed joins words as people do: a, b and c.
func listed(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// mostNamed is how many of a list are named.
const mostNamed = 5

// listedNames names some of a list, and says how many there are besides.
func listedNames(ids []graph.ID, name func(graph.ID) string) string {
	var words []string
	for i, id := range ids {
		if i == mostNamed {
			words = append(words, "others")
			break
		}
		words = append(words, name(id))
	}
	return listed(words)
}

// lowerFirst is a name in the middle of a sentence: deals for Deals, and RFQs for RFQs.
func lowerFirst(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	next, _ := utf8.DecodeRuneInString(name[size:])
	if unicode.IsUpper(next) {
		return name
	}
	return string(unicode.ToLower(first)) + name[size:]
}

// instantText is an instant to the minute, or exactly if it is none.
func instantText(at time.Time) string {
	at = at.UTC()
	if at.Equal(at.Truncate(time.Minute)) {
		return at.Format("2006-01-02 15:04 UTC")
	}
	return at.Format("2006-01-02 15:04:05.999 UTC")
}

// gradeText is a level as what somebody can do.
func gradeText(l Level) string {
	if l == LevelFull {
		return "full access"
	}
	return l.String()
}
