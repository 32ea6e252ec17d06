package rpc

// The limits of a request. Each is an error when it is reached, never a shortened
// answer.
const (
	// MaxMessageBytes bounds a message in either direction of the wire, decompressed.
	// It leaves room for a command at its limit in JSON.
	MaxMessageBytes = 8 << 20

	// MaxCommandBytes bounds what one write replicates: a log entry of that size still
	// travels to a follower within an election's time.
	MaxCommandBytes = 4 << 20

	// MaxContextBytes bounds the context of a question and the context stored with a
	// tuple, as protobuf. The longest useful one, a year of shift exceptions, takes
	// a quarter of it.
	MaxContextBytes = 64 << 10

	// MaxModelBytes bounds the text of a model, all modules together.
	MaxModelBytes = 4 << 20
)

// How many elements a page has if the request does not say.
const (
	defaultStores  = 100
	defaultKeys    = 100
	defaultModels  = 100
	defaultTuples  = 100
	defaultObjects = 1000

	// streamChunk is the number of elements per message of a stream: enough that
	// framing costs little, few enough that the first arrive early.
	streamChunk = 1000
)

// maxConcurrentStreams bounds the calls that are under way on one connection of the gRPC
// port; further ones wait with the client.
const maxConcurrentStreams = 1000
