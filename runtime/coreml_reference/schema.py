"""The messages of Apple's Core ML format that the reader knows, as a table.

Transcribed from the field numbers and types of Model.proto, FeatureTypes.proto and MIL.proto
(coremltools 9); a test compares every line with coremltools' own descriptors.

A line is ``number name type [oneof]``. A type is a scalar, a message of this table, ``*`` before
either for a repeated field, ``map:`` before the type of a string-keyed map's values, or ``opaque``
for a message that is known by name only. ``!`` after a message's name marks what is part of the
program: an unknown field in there may change its meaning and is refused; elsewhere it is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_TABLE = """
Model!
  1 specificationVersion int32
  2 description ModelDescription
  10 isUpdatable bool
  200 pipelineClassifier opaque Type
  201 pipelineRegressor opaque Type
  202 pipeline opaque Type
  300 glmRegressor opaque Type
  301 supportVectorRegressor opaque Type
  302 treeEnsembleRegressor opaque Type
  303 neuralNetworkRegressor opaque Type
  304 bayesianProbitRegressor opaque Type
  400 glmClassifier opaque Type
  401 supportVectorClassifier opaque Type
  402 treeEnsembleClassifier opaque Type
  403 neuralNetworkClassifier opaque Type
  404 kNearestNeighborsClassifier opaque Type
  500 neuralNetwork opaque Type
  501 itemSimilarityRecommender opaque Type
  502 mlProgram Program Type
  555 customModel opaque Type
  556 linkedModel opaque Type
  560 classConfidenceThresholding opaque Type
  600 oneHotEncoder opaque Type
  601 imputer opaque Type
  602 featureVectorizer opaque Type
  603 dictVectorizer opaque Type
  604 scaler opaque Type
  606 categoricalMapping opaque Type
  607 normalizer opaque Type
  609 arrayFeatureExtractor opaque Type
  610 nonMaximumSuppression opaque Type
  900 identity opaque Type
  2000 textClassifier opaque Type
  2001 wordTagger opaque Type
  2002 visionFeaturePrint opaque Type
  2003 soundAnalysisPreprocessing opaque Type
  2004 gazetteer opaque Type
  2005 wordEmbedding opaque Type
  2006 audioFeaturePrint opaque Type
  3000 serializedModel opaque Type
ModelDescription
  20 functions *FunctionDescription
  21 defaultFunctionName string
  100 metadata Metadata
  1 input *FeatureDescription
  10 output *FeatureDescription
  13 state *FeatureDescription
  11 predictedFeatureName string
  12 predictedProbabilitiesName string
  50 trainingInput *FeatureDescription
FunctionDescription
  1 name string
  2 input *FeatureDescription
  3 output *FeatureDescription
  6 state *FeatureDescription
  4 predictedFeatureName string
  5 predictedProbabilitiesName string
Metadata
  1 shortDescription string
  2 versionString string
  3 author string
  4 license string
  100 userDefined map:string
FeatureDescription
  1 name string
  2 shortDescription string
  3 type FeatureType
FeatureType
  1 int64Type Int64FeatureType Type
  2 doubleType opaque Type
  3 stringType StringFeatureType Type
  4 imageType opaque Type
  5 multiArrayType ArrayFeatureType Type
  6 dictionaryType DictionaryFeatureType Type
  7 sequenceType opaque Type
  8 stateType opaque Type
  1000 isOptional bool
Int64FeatureType
StringFeatureType
DictionaryFeatureType
  1 int64KeyType Int64FeatureType KeyType
  2 stringKeyType StringFeatureType KeyType
ArrayFeatureType
  1 shape *int64
  2 dataType enum
  21 enumeratedShapes EnumeratedShapes ShapeFlexibility
  31 shapeRange ShapeRange ShapeFlexibility
  41 intDefaultValue int32 defaultOptionalValue
  51 floatDefaultValue float defaultOptionalValue
  61 doubleDefaultValue double defaultOptionalValue
EnumeratedShapes
  1 shapes *Shape
Shape
  1 shape *int64
ShapeRange
  1 sizeRanges *SizeRange
SizeRange
  1 lowerBound uint64
  2 upperBound int64
Program!
  1 version int64
  2 functions map:Function
  3 docString string
  4 attributes map:Value
Function!
  1 inputs *NamedValueType
  2 opset string
  3 block_specializations map:Block
  4 attributes map:Value
Block!
  1 inputs *NamedValueType
  2 outputs *string
  3 operations *Operation
  4 attributes map:Value
Operation!
  1 type string
  2 inputs map:Argument
  3 outputs *NamedValueType
  4 blocks *Block
  5 attributes map:Value
Argument!
  1 arguments *Binding
Binding!
  1 name string binding
  2 value Value binding
NamedValueType!
  1 name string
  2 type ValueType
ValueType!
  1 tensorType TensorType type
  2 listType ListType type
  3 tupleType TupleType type
  4 dictionaryType DictionaryType type
  5 stateType StateType type
TensorType!
  1 dataType enum
  2 rank int64
  3 dimensions *Dimension
  4 attributes map:Value
Dimension!
  1 constant ConstantDimension dimension
  2 unknown UnknownDimension dimension
ConstantDimension!
  1 size uint64
UnknownDimension!
  1 variadic bool
ListType!
  1 type ValueType
  2 length Dimension
TupleType!
  1 types *ValueType
DictionaryType!
  1 keyType ValueType
  2 valueType ValueType
StateType!
  1 wrappedType ValueType
Value!
  1 docString string
  2 type ValueType
  3 immediateValue ImmediateValue value
  5 blobFileValue BlobFileValue value
ImmediateValue!
  1 tensor TensorValue value
  2 tuple TupleValue value
  3 list ListValue value
  4 dictionary DictionaryValue value
BlobFileValue!
  1 fileName string
  2 offset uint64
TensorValue!
  1 floats RepeatedFloats value
  2 ints RepeatedInts value
  3 bools RepeatedBools value
  4 strings RepeatedStrings value
  5 longInts RepeatedLongInts value
  6 doubles RepeatedDoubles value
  7 bytes RepeatedBytes value
RepeatedFloats!
  1 values *float
RepeatedInts!
  1 values *int32
RepeatedBools!
  1 values *bool
RepeatedStrings!
  1 values *string
RepeatedLongInts!
  1 values *int64
RepeatedDoubles!
  1 values *double
RepeatedBytes!
  1 values bytes
TupleValue!
  1 values *Value
ListValue!
  1 values *Value
DictionaryValue!
  1 values *KeyValuePair
KeyValuePair!
  1 key Value
  2 value Value
"""

# Wire types, see protobuf's encoding document: 0 varint, 1 64 bits, 2 with a length, 5 32 bits.
WIRE_TYPES: Mapping[str, int] = {
    "bool": 0,
    "enum": 0,
    "int32": 0,
    "int64": 0,
    "uint64": 0,
    "double": 1,
    "string": 2,
    "bytes": 2,
    "opaque": 2,
    "float": 5,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of the table.

    Attributes:
        kind: a scalar's name, ``opaque``, or ``message``.
        message: the message's name in the table, empty for a scalar.
        packed: a repeated number, which is written as one run of bytes.
        oneof: name of the group of which a message has at most one field, empty for none.
    """

    number: int
    name: str
    kind: str
    message: str
    repeated: bool
    packed: bool
    wire_type: int
    oneof: str


@dataclass(frozen=True, slots=True)
class Schema:
    """One message: its fields by number and by name; `strict` refuses unknown ones."""

    name: str
    strict: bool
    fields: Mapping[int, Field]
    names: Mapping[str, Field]


def _read_table(table: str) -> dict[str, Schema]:
    messages: dict[str, list[Field]] = {}
    strict: dict[str, bool] = {}
    message = ""
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            message = line.rstrip("!")
            messages[message], strict[message] = [], line.endswith("!")
            continue
        number, name, kind, *oneof = line.split()
        if kind.startswith("map:"):
            entry = "Entry:" + kind.removeprefix("map:")
            value = _field(2, "value", kind.removeprefix("map:"), "")
            messages[entry], strict[entry] = (
                [_field(1, "key", "string", ""), value],
                strict[message],
            )
            kind = "*" + entry
        messages[message].append(_field(int(number), name, kind, "".join(oneof)))
    return {
        name: Schema(
            name,
            strict[name],
            {field.number: field for field in fields},
            {field.name: field for field in fields},
        )
        for name, fields in messages.items()
    }


def _field(number: int, name: str, kind: str, oneof: str) -> Field:
    repeated, kind = kind.startswith("*"), kind.removeprefix("*")
    message = "" if kind in WIRE_TYPES else kind
    wire_type = 2 if message else WIRE_TYPES[kind]
    packed = repeated and wire_type != 2
    return Field(
        number, name, "message" if message else kind, message, repeated, packed, wire_type, oneof
    )


SCHEMAS: Mapping[str, Schema] = _read_table(_TABLE)
