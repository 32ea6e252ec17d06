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

var levelNames = [...]string{"none", "view", "edit", "delete", "full"}

// String is the level in a word.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return "unknown"
}
