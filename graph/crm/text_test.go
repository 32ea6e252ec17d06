package crm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseWindows(t *testing.T) {
	for _, tc := range []struct {
		text, again string // again is how it is written; empty: as it was read
		windows     []Window
	}{
		{text: "", again: "closed"},
		{text: "closed"},
		{text: "09:00-17:30", windows: []Window{{Span: Span{540, 1050}}}},
		{text: " 09:00-12:30 ,13:30-24:00", again: "09:00-12:30, 13:30-24:00", windows: []Window{{Span: Span{540, 750}}, {Span: Span{810, 1440}}}},
		{
			text:    "22:00-06:00 except 02:00-02:30 04:00-04:15",
			windows: []Window{{Span: Span{1320, 360}, Breaks: []Span{{120, 150}, {240, 255}}}},
		},
	} {
		got, err := ParseWindows(tc.text)
		if diff := cmp.Diff(tc.windows, got); err != nil || diff != "" {
			t.Errorf("ParseWindows(%q): %v\n%s", tc.text, err, diff)
		}
		want := tc.again
		if want == "" {
			want = tc.text
		}
		if again := WindowsText(got); again != want {
			t.Errorf("WindowsText(%q) = %q, want %q", tc.text, again, want)
		}
	}
	for _, text := range []string{
		"open", "09:00", "9:00-17:00", "09:00-17:0", "09:00-17:000", "09:00 - 17:00", "09:60-17:00", "24:01-17:00",
		"09:00-17:00,", "09:00-17:00 except", "09:00-17:00 except 12:00", "09:00-17:00 but 12:00-13:00", "0-:00-17:00", "+9:00-17:00",
	} {
		if got, err := ParseWindows(text); err == nil {
			t.Errorf("ParseWindows(%q) = %v, want an error", text, got)
		}
	}
}

func TestWordsRoundTrip(t *testing.T) {
	for l := LevelNone; l <= LevelFull; l++ {
		if got, ok := ParseLevel(l.String()); !ok || got != l {
			t.Errorf("ParseLevel(%s) = %v, %v", l, got, ok)
		}
	}
	for l := FieldWrite; l <= FieldHidden; l++ {
		if got, ok := ParseFieldLevel(l.String()); !ok || got != l {
			t.Errorf("ParseFieldLevel(%s) = %v, %v", l, got, ok)
		}
	}
	for bits := range int(allPermissions) + 1 {
		p := Permissions(bits)
		var back Permissions
		for _, name := range p.Names() {
			one, ok := ParsePermission(name)
			if !ok {
				t.Errorf("ParsePermission(%s) knows it not", name)
			}
			back |= one
		}
		if back != p {
			t.Errorf("%v is %v when it is read again", p.Names(), back.Names())
		}
	}
	for i := range weekdays {
		d, ok := ParseWeekday(weekdays[i])
		if !ok || int(d) != i || WeekdayText(d) != weekdays[i] {
			t.Errorf("ParseWeekday(%s) = %v, %v", weekdays[i], d, ok)
		}
	}
	for _, text := range []string{"", "View", "admin"} {
		_, l := ParseLevel(text)
		_, f := ParseFieldLevel(text)
		_, p := ParsePermission(text)
		_, d := ParseWeekday(text)
		if l || f || p || d {
			t.Errorf("%q is taken for a level, a permission or a day", text)
		}
	}
	if r, err := ParseRef("deal:a:b"); err != nil || r != (Ref{"deal", "a:b"}) {
		t.Errorf("ParseRef(deal:a:b) = %v, %v", r, err)
	}
	for _, text := range []string{"", "deal", "deal:", ":d1"} {
		if r, err := ParseRef(text); err == nil {
			t.Errorf("ParseRef(%q) = %v, want an error", text, r)
		}
	}
}
