package main

import "github.com/remit-authz/remit/rpc/limit"

// limitSettings are what keeps tenants out of each other's way.
func limitSettings(s *settings, c *limit.Config) {
	s.number(&c.RatePerStore, "rate-per-store", 0, 0, "`calls` a second that a store is good for; a batch counts its questions; 0 is any number")
	s.number(&c.BurstPerStore, "burst-per-store", 0, 0, "`calls` to a store that may come at once; 0 is those of a second")
	s.number(&c.RatePerPrincipal, "rate-per-principal", 0, 0, "`calls` a second that one caller may make; 0 is any number")
	s.number(&c.BurstPerPrincipal, "burst-per-principal", 0, 0, "`calls` of one caller that may come at once; 0 is those of a second")
	s.span(&c.RateWait, "rate-wait", limit.DefaultRateWait, "`time` that a call waits that comes more often than it may, for its turn or to be refused; -1s is none")
	s.number(&c.Concurrency, "concurrency", 0, limit.Unlimited, "short `questions` evaluated at once; 0 is two for each processor, -1 shares nothing")
	s.number(&c.LongConcurrency, "concurrency-long", 0, 0, "lists and large `batches` evaluated at once; 0 is one for each processor but one")
	s.number(&c.Queue, "queue", limit.DefaultQueue, 1, "`calls` of one caller to one store that may wait to be evaluated, and of either for their rate")
}
