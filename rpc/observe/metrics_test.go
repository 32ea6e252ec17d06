package observe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func TestAHistogramPutsEachValueUnderItsBound(t *testing.T) {
	h := newHistogram(bounds(10, 20, 40))
	for _, v := range []int64{0, 1, 10, 11, 20, 21, 40, 41, 1 << 40} {
		h.observe(v)
	}
	metric, count := h.metric(prometheus.NewDesc("h", "h", nil, nil), 10)
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	got := map[float64]uint64{}
	for _, b := range m.Histogram.Bucket {
		got[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if diff := cmp.Diff(map[float64]uint64{1: 3, 2: 5, 4: 7}, got); diff != "" {
		t.Errorf("buckets (-want +got):\n%s", diff)
	}
	if want := float64(144+1<<40) / 10; count != 9 || m.Histogram.GetSampleCount() != 9 || m.Histogram.GetSampleSum() != want {
		t.Errorf("%d values, %d in the metric, their sum %v, want 9 and %v", count, m.Histogram.GetSampleCount(), m.Histogram.GetSampleSum(), want)
	}
}

// Bounds are told as the numbers that people would write.
func TestBoundsAreRound(t *testing.T) {
	h := newHistogram(durations)
	metric, _ := h.metric(prometheus.NewDesc("h", "h", nil, nil), float64(time.Second))
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, b := range m.Histogram.Bucket {
		got = append(got, b.GetUpperBound())
	}
	want := []float64{
		10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
		0.1, 0.25, 0.5, 1, 2.5, 5, 10,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bounds (-want +got):\n%s", diff)
	}
}

func TestProceduresHaveAFace(t *testing.T) {
	for procedure, want := range map[string][2]string{
		"/remit.v1.AccessService/Check":         {"remit", "AccessService/Check"},
		"/openfga.v1.OpenFGAService/ListUsers":  {"openfga", "OpenFGAService/ListUsers"},
		"/authzen.v1.AuthZenService/Evaluation": {"authzen", "AuthZenService/Evaluation"},
		"/grpc.health.v1.Health/Watch":          {"health", "Health/Watch"},
	} {
		if face, rpc := split(procedure); face != want[0] || rpc != want[1] {
			t.Errorf("%s is %s of %s, want %s of %s", procedure, rpc, face, want[1], want[0])
		}
	}
}

func TestTheStoreOfARequest(t *testing.T) {
	for _, test := range []struct {
		request any
		want    string
	}{
		{&remitv1.CheckRequest{Scope: &remitv1.Scope{Store: "a"}}, "a"},
		{&remitv1.WriteRequest{Store: "b"}, "b"},
		{&remitv1.DeleteStoreRequest{StoreId: "c"}, "c"},
		{&remitv1.CheckRequest{}, ""},
		{&remitv1.CreateStoreRequest{Name: "d"}, ""},
		{"e", ""},
	} {
		if got := StoreOf(test.request); got != test.want {
			t.Errorf("the store of %v is %q, want %q", test.request, got, test.want)
		}
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, c := range []Config{{Requests: "some"}, {Slow: -1}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	for _, s := range append(Selections(), "") {
		if err := (&Config{Requests: Selection(s)}).Validate(); err != nil {
			t.Error(err)
		}
	}
}
