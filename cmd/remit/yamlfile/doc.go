// Package yamlfile reads YAML files that people write by hand, so that whatever is wrong
// with one is told with the line and column at which it stands; and it writes texts and
// values so that YAML reads back the same.
package yamlfile
