import Foundation

/// What an app needs of a bundle's `manifest.json`, read strictly.
///
/// The schema is `runtime/manifest.py` in the repository that makes bundles. Fields that only its
/// own tools use (`weights`, `source`, `data`, `metrics`, `tools`) must be there and are not looked
/// into.
public struct Manifest: Sendable {
  /// The newest schema version that is read; version 1 is read, too.
  public static let newestSchemaVersion = 2

  public let schemaVersion: Int
  public let name: String
  public let task: TaskSpec
  public let tokenizer: TokenizerSpec
  public let artifacts: [Artifact]
  public let files: [FileEntry]
}

/// What the output means.
public struct TaskSpec: Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    case singleLabel = "single_label"
    case multiLabel = "multi_label"
    /// Sentence vectors: no labels.
    case embedding
  }

  public enum Activation: String, CaseIterable, Sendable {
    case softmax, sigmoid, l2, none
  }

  public enum Pooling: String, CaseIterable, Sendable {
    case mean, cls
  }

  public let kind: Kind
  public let activation: Activation
  /// Names in the order of the logits; empty for sentence vectors.
  public let labels: [String]
  /// Multi-label only: the probability from which a label is given, one per label.
  public let thresholds: [Double]?
  public let pooling: Pooling?
}

/// How a text becomes ids.
public struct TokenizerSpec: Sendable {
  public enum PadSide: String, CaseIterable, Sendable {
    case left, right
  }

  public enum ClassificationPosition: String, CaseIterable, Sendable {
    case first, last
  }

  public enum TokenTypes: String, CaseIterable, Sendable {
    case none
    case inGraph = "in_graph"
  }

  /// `WordPiece`, `BPE` or `Unigram`.
  public let type: String
  /// The file of Hugging Face's `tokenizers`, relative to the bundle.
  public let file: String
  /// One token a line, line number = id; WordPiece only.
  public let vocabulary: String?
  public let vocabularySize: Int
  /// Longest sequence in ids, special tokens included.
  public let maxLength: Int
  public let padID: Int
  public let padSide: PadSide
  public let classificationToken: String
  public let classificationPosition: ClassificationPosition
  public let separatorToken: String
  public let unknownToken: String
  public let lowercase: Bool
  public let stripAccents: Bool
  public let cleanText: Bool
  public let handleChineseCharacters: Bool
  /// What stands in for half a surrogate pair, which a Swift string cannot hold.
  public let loneSurrogates: String
}

/// A tensor by name; a free axis is nil.
public struct TensorSpec: Sendable, Equatable {
  public let name: String
  public let dtype: String
  public let shape: [Int?]
}

/// A file of the bundle: path relative to it, size and hex SHA-256.
public struct FileEntry: Sendable, Equatable {
  public let path: String
  public let bytes: Int
  public let sha256: String
}

/// One model: a file, or a folder such as an `.mlpackage`.
public struct Artifact: Sendable {
  public let path: String
  public let format: String
  public let recipe: String
  public let precision: String
  public let bytes: Int
  public let sha256: String
  /// Sequence lengths that it runs, ascending; nil where it runs any.
  public let lengths: [Int]?
  public let inputs: [TensorSpec]
  public let outputs: [TensorSpec]
  /// Such as `iOS` → `16`.
  public let minimumRuntime: [String: String]
  /// The parity gate's verdict: `pass`, `fail` or `unknown`.
  public let gate: String
  /// The files of a folder; empty for a file.
  public let files: [FileEntry]
}
