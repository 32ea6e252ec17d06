package storefile

import "github.com/remit-authz/remit/cmd/remit/yamlfile"

// A Place is where something stands in a file.
type Place = yamlfile.Place

// A Fault is something wrong, and where.
type Fault = yamlfile.Fault

// An Error holds all that is wrong with a file, in the order in which it stands there.
type Error = yamlfile.Error
