package graphtest

import "testing"

// A seed makes the same scenario every time: else a failure could not be repeated.
func TestGeneratorRepeats(t *testing.T) {
	var rejected, valid int
	for n := range uint64(50) {
		var texts [2]string
		for i := range texts {
			g := newGenerator(1, n)
			s := g.scenario()
			g.questions(s, 5, 2, 2)
			for j := range s.questions {
				texts[i] += s.questions[j].String() + mapText(s.questions[j].circumstances.Context) + "\n"
			}
			if len(s.questions) > 0 {
				texts[i] += s.describe(&s.questions[0])
			}
			rejected += g.rejected
			valid++
		}
		if texts[0] != texts[1] {
			t.Fatalf("scenario %d is\n%s\nand then\n%s", n, texts[0], texts[1])
		}
	}
	if rejected > 10*valid {
		t.Errorf("%d models were not valid for %d that were: the generator wastes its time", rejected, valid)
	}
}
