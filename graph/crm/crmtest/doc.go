// Package crmtest makes random organisations for tests, and decides over them by the
// letter of the decision procedure, so that what is built on package crm can be compared
// with it.
package crmtest
