// Package suites runs the test suites that OpenFGA exports against a target: one server,
// told by CONFORMANCE_TARGET as package conformance describes.
package suites

import (
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/openfga/tests/check"
	"github.com/openfga/openfga/tests/listobjects"
	"github.com/openfga/openfga/tests/listusers"
)

// Stores written to and contextual tuples, conditions and $expression: what OpenFGA
// publishes as its whole suite. Its single name keeps the count that others publish.
func TestSuites(t *testing.T) {
	client := openfgav1.NewOpenFGAServiceClient(target.Conn)
	check.RunAllTests(t, client)
	listobjects.RunAllTests(t, client)
	listusers.RunAllTests(t, client)
}

// One large model, every relation of it by Check, ListObjects and ListUsers.
func TestMatrices(t *testing.T) {
	client := openfgav1.NewOpenFGAServiceClient(target.Conn)
	check.RunMatrixTests(t, target.Name, "stored", client)
	listobjects.RunMatrixTests(t, target.Name, "stored", client)
}

// The same, with every tuple in the request instead of the store.
func TestContextualMatrices(t *testing.T) {
	client := newContextual(openfgav1.NewOpenFGAServiceClient(target.Conn))
	check.RunMatrixTests(t, target.Name, "contextual", client)
	listobjects.RunMatrixTests(t, target.Name, "contextual", client)
}
