package crm

import "testing"

// Assign plans that a record is given to somebody.
func (s *Managed) Assign(t testing.TB, o Offer) (*Turn, *Plan, error) {
	t.Helper()
	d := s.Draft()
	turn, err := d.Assign(s.Deeds(t), &o)
	if err != nil {
		return nil, nil, err
	}
	p, err := d.Plan()
	if err != nil {
		return nil, nil, err
	}
	return turn, p, turn.Join(p)
}

// FellBack is what is remembered of a seat's last turn.
func (s *Managed) FellBack(t testing.TB, seat string) bool {
	t.Helper()
	fellBack, err := NewReader(s, s.plan).TurnOf(seat)
	if err != nil {
		t.Fatal(err)
	}
	return fellBack
}
