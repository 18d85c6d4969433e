package dev.mobileexport.core

/** Whether a text gets exactly one label or any number of them. */
public enum class TaskKind { SINGLE_LABEL, MULTI_LABEL }

/**
 * What the logits mean.
 *
 * @property kind decides on the activation too: softmax for one label, sigmoid for many.
 * @property labels names in the order of the logits.
 * @property thresholds for many labels: the probability from which each is given; else null.
 */
public data class Task(
    val kind: TaskKind,
    val labels: List<String>,
    val thresholds: List<Double>?,
)

/** On which side a sequence is filled up. */
public enum class PadSide { LEFT, RIGHT }

/**
 * How a text becomes ids.
 *
 * @property type the model's class in Hugging Face's tokenizers: `WordPiece`, `BPE` or `Unigram`.
 * @property file the tokenizers file, relative to the bundle.
 * @property vocab one token a line, line number = id; null for every type but WordPiece.
 * @property maxLength most ids, special tokens included.
 * @property clsFirst whether the class token stands before the text; else it is the last of all.
 * @property lowercase BertNormalizer's, as are the three after it; null for every type but WordPiece.
 * @property loneSurrogates what stands in for half a surrogate pair.
 */
public data class TokenizerSpec(
    val type: String,
    val file: String,
    val vocab: String?,
    val vocabSize: Int,
    val maxLength: Int,
    val padId: Int,
    val padSide: PadSide,
    val padToken: String,
    val clsToken: String,
    val sepToken: String,
    val unkToken: String,
    val maskToken: String?,
    val clsFirst: Boolean,
    val lowercase: Boolean?,
    val stripAccents: Boolean?,
    val cleanText: Boolean?,
    val handleChineseChars: Boolean?,
    val loneSurrogates: String,
)

/** A named tensor; an axis of [shape] is null where its size is free. */
public data class TensorSpec(val name: String, val dtype: String, val shape: List<Int?>)

/** A file: its path relative to the bundle, its size and its hexadecimal SHA-256. */
public data class FileEntry(val path: String, val bytes: Long, val sha256: String)

/**
 * One model.
 *
 * @property path relative to the bundle.
 * @property format such as `tflite`.
 * @property recipe that made it.
 * @property precision short name such as `int8`.
 * @property bytes of the file, or of all files of a folder.
 * @property sha256 of the file, or of the list of a folder's files.
 * @property lengths the sequence lengths it has, ascending; null where any length runs.
 * @property minimumRuntime runtime package to the lowest version that runs the file correctly.
 * @property gate the parity gate's verdict: `pass`, `fail` or `unknown`.
 * @property files of a folder; empty for a file.
 */
public data class Artifact(
    val path: String,
    val format: String,
    val recipe: String,
    val precision: String,
    val bytes: Long,
    val sha256: String,
    val lengths: List<Int>?,
    val inputs: List<TensorSpec>,
    val outputs: List<TensorSpec>,
    val minimumRuntime: Map<String, String>,
    val gate: String,
    val files: List<FileEntry>,
)

/** What an app needs of a bundle's manifest.json. */
public data class Manifest(
    val schemaVersion: Int,
    val name: String,
    val task: Task,
    val tokenizer: TokenizerSpec,
    val artifacts: List<Artifact>,
    val files: List<FileEntry>,
)
