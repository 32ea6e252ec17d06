package rpc

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Seats, and the hours that they work.

func seatOf(path string, m *remitv1.Seat) (*crm.Seat, error) {
	s := &crm.Seat{
		ID: m.GetId(), Name: m.GetName(), Login: m.GetLogin(), Suspended: m.GetSuspended(), Role: m.GetRole(),
		Profiles: m.GetProfiles(), Manager: m.GetManager(), NonReporting: m.GetNonReporting(),
	}
	for i, a := range m.GetShifts() {
		where := indexed(path+".shifts", i)
		if a.GetShift() == "" {
			return nil, at(where+".shift", fmt.Errorf("%w: it names no shift", backend.ErrRequest))
		}
		period, err := periodOf(where+".period", a.GetPeriod())
		if err != nil {
			return nil, err
		}
		s.Shifts = append(s.Shifts, crm.Assignment{Shift: a.GetShift(), Period: period})
	}
	for i, l := range m.GetLeave() {
		period, err := periodOf(indexed(path+".leave", i), l)
		if err != nil {
			return nil, err
		}
		s.Leave = append(s.Leave, period)
	}
	return s, nil
}

func seatMessage(s *crm.Seat) *remitv1.Seat {
	m := &remitv1.Seat{
		Id: s.ID, Name: s.Name, Login: s.Login, Suspended: s.Suspended, Role: s.Role,
		Profiles: s.Profiles, Manager: s.Manager, NonReporting: s.NonReporting,
	}
	for _, a := range s.Shifts {
		m.Shifts = append(m.Shifts, &remitv1.ShiftAssignment{Shift: a.Shift, Period: periodMessage(a.Period)})
	}
	for _, l := range s.Leave {
		m.Leave = append(m.Leave, periodMessage(l))
	}
	return m
}

// periodOf reads a period. None at all is for ever.
func periodOf(path string, m *remitv1.Period) (p crm.Period, err error) {
	if m.GetFrom() != nil {
		if p.From, err = boundOf(path+".from", m.From); err != nil {
			return p, err
		}
	}
	if m.GetUntil() != nil {
		if p.Until, err = boundOf(path+".until", m.Until); err != nil {
			return p, err
		}
		if !p.From.Before(p.Until) {
			return p, at(path, fmt.Errorf("%w: it ends at %s, which is not after its start", backend.ErrRequest, p.Until.Format(time.RFC3339)))
		}
	}
	return p, nil
}

func periodMessage(p crm.Period) *remitv1.Period {
	m := &remitv1.Period{}
	if !p.From.IsZero() {
		m.From = timestamppb.New(p.From)
	}
	if !p.Until.IsZero() {
		m.Until = timestamppb.New(p.Until)
	}
	return m
}

func hoursOf(path string, m *remitv1.Hours) (crm.Hours, error) {
	h := crm.Hours{Zone: m.GetZone(), Holidays: m.GetHolidays()}
	if err := weekOf(path+".days", m.GetDays(), &h.Week); err != nil {
		return h, err
	}
	for _, date := range slices.Sorted(maps.Keys(m.GetExceptions())) {
		windows, err := crm.ParseWindows(m.Exceptions[date])
		if err != nil {
			return h, at(keyed(path+".exceptions", date), fmt.Errorf("%w: %w", backend.ErrRequest, err))
		}
		insert(&h.Exceptions, date, windows)
	}
	return h, nil
}

func hoursMessage(h *crm.Hours) *remitv1.Hours {
	m := &remitv1.Hours{Zone: h.Zone, Days: weekMessage(&h.Week), Holidays: h.Holidays}
	for date, windows := range h.Exceptions {
		insert(&m.Exceptions, date, crm.WindowsText(windows))
	}
	return m
}

// weekOf reads windows by the names of days.
func weekOf(path string, days map[string]string, to *crm.Week) error {
	for _, name := range slices.Sorted(maps.Keys(days)) {
		day, ok := crm.ParseWeekday(name)
		if !ok {
			return at(keyed(path, name), noDay(name))
		}
		windows, err := crm.ParseWindows(days[name])
		if err != nil {
			return at(keyed(path, name), fmt.Errorf("%w: %w", backend.ErrRequest, err))
		}
		to[day] = windows
	}
	return nil
}

func weekMessage(w *crm.Week) map[string]string {
	var days map[string]string
	for d, windows := range w {
		if len(windows) > 0 {
			insert(&days, crm.WeekdayText(time.Weekday(d)), crm.WindowsText(windows))
		}
	}
	return days
}

func noDay(name string) error {
	return fmt.Errorf("%w: %q is no day of the week: sunday, monday, tuesday, wednesday, thursday, friday or saturday", backend.ErrRequest, name)
}
