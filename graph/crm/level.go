package crm

// A Level is how much of a record is reached. Each contains those before it.
type Level uint8

// The levels.
const (
	LevelNone Level = iota
	LevelView
	LevelEdit
	LevelDelete
	LevelFull // also gives the record away and shares it
)

// String is the level in a word: none, view, edit, delete or full.
func (l Level) String() string { return chosen(levelNames, l) }

// ParseLevel reads what String writes, and reports whether it is a level.
func ParseLevel(text string) (Level, bool) { return choose[Level](levelNames, text) }
