package storefile

import "github.com/remit-authz/remit/cmd/remit/yamlfile"

// What is wrong with a file is told as of every file that people write.
type (
	Place = yamlfile.Place
	Fault = yamlfile.Fault
	Error = yamlfile.Error
)
