package decision

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// Whatever names hold, an event is one line of JSON that says what they are.
func FuzzEventIsOneLine(f *testing.F) {
	for _, s := range []string{
		"", "document:plan", "a\nb\r\n", `q"u\o`, "\xff\xfe\xc3", "\u2028\u2029\u0085", "\x00\x1b\x7f", "\ufffe\ufdd0\U0001ffff", "ä€𝄞", "</script>",
		`","outcome":"allowed`, strings.Repeat("\x01", 3000),
	} {
		f.Add(s, "user:anna", s)
		f.Add("document:plan", s, "nowhere")
	}
	f.Fuzz(func(t *testing.T, object, subject, other string) {
		l := &Log{config: Config{Values: true}}
		given := &structpb.Struct{Fields: map[string]*structpb.Value{other: structpb.NewStringValue(subject)}}
		e := Event{
			Outcome: Refused, Object: object, Subject: subject, Relation: other, Asked: other, Reason: "INVALID", Context: l.Context(given),
			principal: subject, actor: other, requestID: object, procedure: "/remit.v1.AccessService/Check", time: time.Now(), At: time.Now(),
		}
		e.bound()
		c := newEncoder(other, "unique")
		c.event(&e)
		c.event(&e)
		lines := bytes.SplitAfter(c.buf, []byte("\n"))
		if len(lines) != 3 || len(lines[2]) != 0 || !bytes.Equal(bytes.ReplaceAll(lines[0], []byte(`unique-1"`), []byte(`unique-2"`)), lines[1]) {
			t.Fatalf("two events are %d lines:\n%s", len(lines)-1, c.buf)
		}
		line := string(lines[0][:len(lines[0])-1])
		if len(line) > maxLine {
			t.Fatalf("a line has %d bytes", len(line))
		}
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\r\v\f\u0085\u2028\u2029") {
			t.Fatalf("%q holds what ends a line", line)
		}
		var got struct {
			Source, Subject string
			Data            struct {
				Object, Relation, Subject, Principal, Actor, Store, RequestID string
				Context                                                       []string
			}
		}
		// Names of members are told apart by their case, as other readers do.
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for _, text := range []struct{ got, want string }{
			{got.Data.Object, e.Object},
			{got.Data.Subject, e.Subject},
			{got.Data.Relation, e.Relation},
			{got.Data.Principal, subject},
			{got.Data.Actor, other},
			{got.Data.Store, e.Asked},
		} {
			if want := string([]rune(text.want)); text.got != want {
				t.Fatalf("%q became %q", want, text.got)
			}
		}
		if strings.ContainsFunc(got.Subject, unicode.IsControl) {
			t.Fatalf("the attribute subject is %q", got.Subject)
		}
		if !slices.Equal(got.Data.Context, []string{string([]rune(clip(other, maxName)))}) {
			t.Fatalf("context names %q, want %q", got.Data.Context, other)
		}
	})
}

// BenchmarkEncode sets the encoder beside the library's.
func BenchmarkEncode(b *testing.B) {
	e := Event{
		Outcome: Refused, Object: "document:plan", Subject: "user:anna", Relation: "viewer", Model: "01KAMQ3H0GZ4W5V7YQJ4Q5N8ZC", Token: "AAECAwQFBgcICQoLDA0ODw",
		Revision: 12345, At: time.Now(), procedure: "/remit.v1.AccessService/Check", principal: "key:shop", requestID: "r-1", time: time.Now(), took: 12345,
		Store: [16]byte{1, 2, 3},
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		c := newEncoder("node", "unique")
		for b.Loop() {
			c.buf = c.buf[:0]
			c.event(&e)
		}
		b.SetBytes(int64(len(c.buf)))
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		c := newEncoder("node", "unique")
		c.event(&e)
		type data struct {
			Outcome   string    `json:"outcome"`
			Allowed   bool      `json:"allowed"`
			Face      string    `json:"face"`
			RPC       string    `json:"rpc"`
			Store     string    `json:"store"`
			Model     string    `json:"model"`
			Revision  uint64    `json:"revision"`
			Token     string    `json:"token"`
			At        time.Time `json:"at"`
			Object    string    `json:"object"`
			Relation  string    `json:"relation"`
			Subject   string    `json:"subject"`
			Principal string    `json:"principal"`
			RequestID string    `json:"request_id"`
			Duration  float64   `json:"duration_seconds"`
		}
		var event struct {
			SpecVersion     string    `json:"specversion"`
			ID              string    `json:"id"`
			Source          string    `json:"source"`
			Type            string    `json:"type"`
			Subject         string    `json:"subject"`
			Time            time.Time `json:"time"`
			DataContentType string    `json:"datacontenttype"`
			Data            data      `json:"data"`
		}
		if err := json.Unmarshal(c.buf, &event); err != nil {
			b.Fatal(err)
		}
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		for b.Loop() {
			buf.Reset()
			if err := encoder.Encode(&event); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
	})
}
