package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// shortly is how long the clients of these tests may take.
const shortly = 100 * time.Millisecond

// serveHTTP serves a handler over HTTP/1.1 and, to a client that wants it, HTTP/2.
func serveHTTP(t *testing.T, handler http.Handler) (*httptest.Server, map[string]*http.Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	return s, map[string]*http.Client{"HTTP/1.1": s.Client(), "HTTP/2": {Transport: h2}}
}

// A list holds a state for as long as it is sent, so it does not wait for its reader.
func TestTheReaderOfAListIsCutOffOverHTTP(t *testing.T) {
	ended := make(chan error)
	server, clients := serveHTTP(t, cuttable(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for chunk := make([]byte, 64<<10); err == nil; {
			_, err = w.Write(chunk)
		}
		ended <- err
	}), shortly))
	for name, client := range clients {
		for _, path := range []string{"/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV/streamed-list-objects", openfgav1.OpenFGAService_StreamedListObjects_FullMethodName} {
			t.Run(name+path, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = res.Body.Close() }()
				if err := <-ended; err == nil {
					t.Error("the list ended without an error")
				}
			})
		}
	}
}

func TestTheReaderOfAListIsCutOffOverGRPC(t *testing.T) {
	const procedure = openfgav1.OpenFGAService_StreamedListObjects_FullMethodName
	ended := make(chan error)
	server := connect.NewServer()
	server.Register(connect.Method{
		Spec: connect.Spec{StreamType: connect.StreamTypeServer, Procedure: procedure},
		Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			res := &openfgav1.StreamedListObjectsResponse{Object: "document:" + strings.Repeat("x", 1<<10)}
			var err error
			for err == nil {
				err = stream.Send(res)
			}
			ended <- err
			return err
		},
	})
	g := newGRPCServer([]face{{server: server, maxBytes: MaxMessageBytes, json: newLenientCodec()}}, shortly)
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(listener) }()
	defer g.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream, err := openfgav1.NewOpenFGAServiceClient(conn).StreamedListObjects(t.Context(), &openfgav1.StreamedListObjectsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the list ended without an error")
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the reader is told %v, want that it is unavailable", err)
	}
}

func TestARequestHasToArrive(t *testing.T) {
	read := make(chan error)
	server, clients := serveHTTP(t, punctual(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	}), shortly))
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			body, rest := io.Pipe()
			defer func() { _ = rest.Close() }()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.MultiReader(strings.NewReader("{"), body))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if res, err := client.Do(r); err == nil {
					_ = res.Body.Close()
				}
			}()
			if err := <-read; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a body that does not arrive ends with %v", err)
			}
		})
	}
}

// A request that has arrived may take its time to be answered, and so may the next one.
func TestARequestThatArrivedIsNotEnded(t *testing.T) {
	server, clients := serveHTTP(t, punctual(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 {
			t.Errorf("the body has %d bytes, %v", len(body), err)
		}
		select {
		case <-r.Context().Done():
			t.Error("the request was ended")
		case <-time.After(3 * shortly):
			w.WriteHeader(http.StatusNoContent)
		}
	}), shortly))
	for name, client := range clients {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{2, 1 << 20} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader(make([]byte, size)))
				if err != nil {
					t.Fatal(err)
				}
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusNoContent {
					t.Errorf("status %d", res.StatusCode)
				}
			}
		})
	}
}
