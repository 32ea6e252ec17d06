package openfga

import (
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// fieldCodes are the codes of faults that the validation of messages finds, by the field
// and by how the text about it begins. Whatever else is wrong is a validation_error.
var fieldCodes = []struct {
	field, reason string
	code          openfgav1.ErrorCode
}{
	{"Assertions", "value must contain no more than", openfgav1.ErrorCode_assertions_too_many_items},
	{"AuthorizationModelId", "value length must be at most", openfgav1.ErrorCode_authorization_model_id_too_long},
	{"Base", "value is required", openfgav1.ErrorCode_difference_base_missing_value},
	{"Id", "value length must be at most", openfgav1.ErrorCode_id_too_long},
	{"Object", "value length must be at most", openfgav1.ErrorCode_object_too_long},
	{"PageSize", "value must be inside range", openfgav1.ErrorCode_page_size_invalid},
	{"Params", "value is required", openfgav1.ErrorCode_param_missing_value},
	{"Relation", "value length must be at most", openfgav1.ErrorCode_relation_too_long},
	{"Relations", "value must contain at least", openfgav1.ErrorCode_relations_too_few_items},
	{"Relations[", "value length must be at most", openfgav1.ErrorCode_relations_too_long},
	{"Relations[", "value does not match regex pattern", openfgav1.ErrorCode_relations_invalid_pattern},
	{"StoreId", "value length must be", openfgav1.ErrorCode_store_id_invalid_length},
	{"Subtract", "value is required", openfgav1.ErrorCode_subtract_base_missing_value},
	{"TupleKey", "value is required", openfgav1.ErrorCode_tuple_key_value_not_specified},
	{"TupleKeys", "value must contain between", openfgav1.ErrorCode_tuple_keys_too_many_or_too_few_items},
	{"Type", "value length must be at", openfgav1.ErrorCode_type_invalid_length},
	{"Type", "value does not match regex pattern", openfgav1.ErrorCode_type_invalid_pattern},
	{"TypeDefinitions", "value must contain at least", openfgav1.ErrorCode_type_definitions_too_few_items},
}

// fieldCode is the code of a fault, told as "invalid Message.Field: reason". The text is
// all that says which field it is, so the code is taken from the text.
func fieldCode(text string) Code {
	where, reason, ok := strings.Cut(text, ": ")
	if !ok || strings.Count(where, ".") != 1 {
		return Code(openfgav1.ErrorCode_validation_error)
	}
	_, field, _ := strings.Cut(where, ".")
	for _, f := range fieldCodes {
		named := field == f.field || strings.HasSuffix(f.field, "[") && strings.HasPrefix(field, f.field)
		if named && strings.HasPrefix(reason, f.reason) {
			return Code(f.code)
		}
	}
	return Code(openfgav1.ErrorCode_validation_error)
}
