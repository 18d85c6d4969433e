/// The answer for one text.
public struct Classification: Sendable, Equatable {
  /// Special tokens included, not padded.
  public let ids: [Int32]
  /// Whether the text had more ids than the model reads.
  public let isTruncated: Bool
  /// Raw, in the order of the manifest's labels.
  public let logits: [Float]
  /// In the same order.
  public let probabilities: [Double]
  /// The labels that the text gets, likeliest first; exactly one for a single-label task.
  public let labels: [String]
  /// Every label with its probability, likeliest first.
  public let ranking: [LabelProbability]
}

/// A label and how likely it is.
public struct LabelProbability: Sendable, Equatable {
  public let label: String
  public let probability: Double
}

/// Text → labels. It has no state: use it from any thread.
public struct TextClassifier: Sendable {
  public let artifact: Artifact
  private let task: TaskSpec
  private let tokenizer: WordPieceTokenizer
  private let padding: TokenizerSpec
  private let model: any TextModel

  /// Puts a bundle's tokenizer and task around a model.
  ///
  /// - Throws: `BundleError` if the bundle gives sentence vectors, or its tokenizer is not known.
  public init(bundle: ModelBundle, artifact: Artifact, model: any TextModel) throws {
    if bundle.manifest.task.kind == .embedding {
      throw BundleError("\(bundle.manifest.name) gives sentence vectors and no labels")
    }
    self.artifact = artifact
    self.model = model
    task = bundle.manifest.task
    padding = bundle.manifest.tokenizer
    tokenizer = try WordPieceTokenizer(bundle: bundle)
  }

  /// Labels one text; any string is accepted, the empty one too.
  public func classify(_ text: String) throws -> Classification {
    try classify(tokenizer.encode(text))
  }

  /// Labels what the tokenizer made of a text.
  public func classify(_ encoding: Encoding) throws -> Classification {
    let (inputIDs, attentionMask) = try padded(encoding.ids)
    let logits = try model.logits(inputIDs: inputIDs, attentionMask: attentionMask)
    return try Classification(encoding: encoding, logits: logits, task: task)
  }

  /// Ids and mask, filled up to the shortest of the artifact's lengths that holds the ids.
  func padded(_ ids: [Int32]) throws -> (inputIDs: [Int32], attentionMask: [Int32]) {
    let lengths = artifact.lengths ?? [ids.count]
    guard let length = lengths.first(where: { $0 >= ids.count }) else {
      throw BundleError(
        "a sequence has \(ids.count) ids",
        why: "\(artifact.path) reads at most \(lengths.last ?? 0)")
    }
    let filler = [Int32](repeating: Int32(padding.padID), count: length - ids.count)
    let zeros = [Int32](repeating: 0, count: filler.count)
    let ones = [Int32](repeating: 1, count: ids.count)
    return padding.padSide == .right ? (ids + filler, ones + zeros) : (filler + ids, zeros + ones)
  }
}

extension Classification {
  /// What follows from logits.
  ///
  /// - Throws: `BundleError` if there is not one logit per label.
  public init(encoding: Encoding, logits: [Float], task: TaskSpec) throws {
    if logits.count != task.labels.count {
      throw BundleError(
        "the model gave \(logits.count) logits", why: "the bundle has \(task.labels.count) labels")
    }
    ids = encoding.ids
    isTruncated = encoding.isTruncated
    self.logits = logits
    let shares = task.probabilities(logits)
    probabilities = shares
    let order = shares.indices.sorted { (shares[$1], $0) < (shares[$0], $1) }
    let chosen = task.decisions(logits)
    labels = order.filter { chosen[$0] }.map { task.labels[$0] }
    ranking = order.map { LabelProbability(label: task.labels[$0], probability: shares[$0]) }
  }
}
