package yamlfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Scalar writes a text so that YAML reads back the same text: plain where that is surely
// safe, otherwise in double quotes.
func Scalar(s string) string {
	if plain.MatchString(s) && !strings.HasSuffix(s, ":") && !keywords[strings.ToLower(s)] {
		return s
	}
	return string(Quoted(s))
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_.:/@|*#+=]*$`)
	keywords = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true, "null": true}
)

// Quoted writes a value as JSON, which is YAML too once the characters are escaped that
// YAML does not allow to stand for themselves. Outside of strings JSON has none of them.
func Quoted(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)              // people read it
	if err := e.Encode(v); err != nil { // values are JSON's own, see value.Value
		return []byte("null")
	}
	text := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	var escaped []byte
	for i, c := range string(text) {
		switch {
		case c == 0x7f, c >= 0x80 && c < 0xa0, c == 0x2028, c == 0x2029, c == 0xfeff, c == 0xfffe, c == 0xffff:
			if escaped == nil {
				escaped = append(make([]byte, 0, len(text)+16), text[:i]...)
			}
			escaped = fmt.Appendf(escaped, "\\u%04x", c)
		case escaped != nil:
			escaped = utf8.AppendRune(escaped, c)
		}
	}
	if escaped != nil {
		return escaped
	}
	return text
}
