package crm

// A Field is an attribute of a module's records that some profiles may not read or write.
// What a person may do with it is the most that any of their profiles lets them, and
// never more than with the record. Administrators are bound like everybody else.
type Field struct {
	Module string
	ID     string // within the module
	Name   string // unique within the module

	// Mandatory fields cannot be restricted.
	Mandatory bool

	// Levels are the profiles that may do less than write.
	Levels map[string]FieldLevel
}

// key is the field's id in the model: deal.iban. A module's id contains no dot.
func (f *Field) key() string { return f.Module + "." + f.ID }

// restricted reports whether some profile may do less than write.
func (f *Field) restricted() bool {
	for _, l := range f.Levels {
		if l != FieldWrite {
			return true
		}
	}
	return false
}

// A FieldLevel is what a profile may do with a field.
type FieldLevel uint8

// The levels of fields.
const (
	FieldWrite FieldLevel = iota // and read
	FieldRead
	FieldHidden
)

// String is the level in a word: write, read or hidden.
func (l FieldLevel) String() string { return chosen(fieldLevelNames, l) }

// ParseFieldLevel reads what String writes, and reports whether it is a level.
func ParseFieldLevel(text string) (FieldLevel, bool) {
	return choose[FieldLevel](fieldLevelNames, text)
}
