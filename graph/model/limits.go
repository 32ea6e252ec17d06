package model

// The limits of a model. They bound the work and the memory that one model can cost;
// beyond each of them a model is refused with a Fault.
const (
	// MaxText bounds the bytes of a model in the modelling language, and of one module.
	MaxText = 1 << 20
	// MaxJSON bounds the bytes of a model as JSON, which is about four times as wordy.
	// All modules of one model together have the same bound.
	MaxJSON = 4 << 20
	// MaxFiles bounds the modules of one model.
	MaxFiles = 1000
	// MaxTypes bounds the types of a model.
	MaxTypes = 1000
	// MaxRelations bounds the relations of one type.
	MaxRelations = 1000
	// MaxConditions bounds the conditions of a model.
	MaxConditions = 1000
	// MaxDepth bounds how deep operators nest in the definition of a relation.
	MaxDepth = 64
	// MaxTypeName bounds the characters of a type's name.
	MaxTypeName = 254
	// MaxName bounds the characters of the name of a relation or a condition.
	MaxName = 50
)
