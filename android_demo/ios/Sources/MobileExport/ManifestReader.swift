import Foundation

extension Manifest {
  /// Reads a manifest.
  ///
  /// - Throws: `BundleError` if it is not JSON, has another schema version, a missing, unknown or
  ///   wrongly typed field, or fields that contradict each other.
  init(json: Data) throws {
    let value: JSONValue
    do {
      value = try JSONDecoder().decode(JSONValue.self, from: json)
    } catch {
      throw BundleError("manifest.json is not JSON", todo: "copy or export the bundle again")
    }
    var reader = try ObjectReader(value, at: "manifest")
    let version = try? reader.integer("schema_version")
    guard let version, (1...Manifest.newestSchemaVersion).contains(version) else {
      throw BundleError(
        "manifest.json has the schema version \(version.map(String.init) ?? "none")",
        why: "this app reads the versions 1 to \(Manifest.newestSchemaVersion)",
        todo: "update the app, or export the bundle again")
    }
    schemaVersion = version
    name = try reader.string("name")
    task = try reader.object("task") { try TaskSpec($0, at: $1, schemaVersion: version) }
    tokenizer = try reader.object("tokenizer") {
      try TokenizerSpec($0, at: $1, schemaVersion: version)
    }
    artifacts = try reader.list("artifacts", Artifact.init)
    files = try reader.list("files", FileEntry.init)
    for part in ["source", "data", "metrics", "tools"] { try reader.skip(part) }
    try reader.end()
    try check()
  }

  private func check() throws {
    if artifacts.isEmpty { throw BundleError("manifest.artifacts is empty") }
    for artifact in artifacts { try artifact.check(maxLength: tokenizer.maxLength) }
    let paths = files.map(\.path) + artifacts.flatMap { [$0.path] + $0.files.map(\.path) }
    if Set(paths).count != paths.count {
      throw BundleError("manifest.json names a file twice")
    }
  }
}

extension TaskSpec {
  init(_ value: JSONValue, at place: String, schemaVersion: Int) throws {
    var reader = try ObjectReader(value, at: place)
    kind = try reader.choice("kind", of: Kind.self)
    activation = try reader.choice("activation", of: Activation.self)
    labels = try reader.list("labels") { try $0.string(at: $1) }
    thresholds =
      reader.has("thresholds")
      ? try reader.optionalList("thresholds") { try $0.double(at: $1) } : nil
    let hasPooling = schemaVersion > 1 && reader.has("pooling")
    pooling = hasPooling ? try reader.optionalChoice("pooling", of: Pooling.self) : nil
    try reader.end()
    try check(place)
  }

  private func check(_ place: String) throws {
    let givesVectors = kind == .embedding
    // Swift takes canonically equivalent strings for equal; labels may differ in that alone.
    let distinct = Set(labels.map { Array($0.utf8) })
    if labels.isEmpty != givesVectors || distinct.count != labels.count {
      throw BundleError("\(place).labels is empty or names a label twice")
    }
    let allowed: [Activation] =
      switch kind {
      case .singleLabel: [.softmax]
      case .multiLabel: [.sigmoid]
      case .embedding: [.l2, .none]
      }
    if !allowed.contains(activation) {
      throw BundleError("\(place): \(activation.rawValue) does not belong to \(kind.rawValue)")
    }
    if (pooling != nil) != givesVectors {
      throw BundleError("\(place).pooling belongs to vectors, and vectors have one")
    }
    if (thresholds != nil) != (kind == .multiLabel) {
      throw BundleError("\(place).thresholds belong to a multi-label task, one per label")
    }
    if let thresholds,
      thresholds.count != labels.count || !thresholds.allSatisfy({ 0...1 ~= $0 })
    {
      throw BundleError("\(place).thresholds must be one probability per label")
    }
  }
}

extension TokenizerSpec {
  init(_ value: JSONValue, at place: String, schemaVersion: Int) throws {
    var reader = try ObjectReader(value, at: place)
    type = try reader.string("type")
    file = try reader.string("file")
    vocabulary = try reader.optionalString("vocab")
    vocabularySize = try reader.integer("vocab_size")
    maxLength = try reader.integer("max_length")
    padID = try reader.integer("pad_id")
    padSide = try reader.choice("pad_side", of: PadSide.self)
    classificationToken = try reader.string("cls_token")
    separatorToken = try reader.string("sep_token")
    unknownToken = try reader.string("unk_token")
    let flags = try ["lowercase", "strip_accents", "clean_text", "handle_chinese_chars"].map {
      try reader.optionalBool($0)
    }
    (lowercase, stripAccents) = (flags[0] ?? false, flags[1] ?? false)
    (cleanText, handleChineseCharacters) = (flags[2] ?? false, flags[3] ?? false)
    loneSurrogates =
      reader.has("lone_surrogates") ? try reader.string("lone_surrogates") : "\u{FFFD}"
    if schemaVersion > 1 {
      classificationPosition = try reader.choice("cls_position", of: ClassificationPosition.self)
      _ = try reader.choice("token_types", of: TokenTypes.self)
      _ = try reader.string("pad_token")
      _ = try reader.optionalString("mask_token")
    } else {
      // Version 1 knew DistilBERT alone.
      classificationPosition = .first
      if padSide != .right {
        throw BundleError("\(place).pad_side must be 'right' in schema version 1")
      }
    }
    try reader.end()
    let ofWordPiece = [vocabulary != nil] + flags.map { $0 != nil }
    if ofWordPiece.contains(type != "WordPiece") {
      throw BundleError(
        "\(place): vocab and BertNormalizer's flags contradict \(type)",
        why: "WordPiece has all of them, another type has none")
    }
    if !["WordPiece", "BPE", "Unigram"].contains(type) {
      throw BundleError(
        "\(place).type is '\(type)'", why: "it must be one of WordPiece, BPE, Unigram")
    }
    if maxLength < 2 {
      throw BundleError("\(place).max_length leaves no room for the special tokens")
    }
    if !(0..<vocabularySize).contains(padID) {
      throw BundleError("\(place).pad_id is not in the vocabulary")
    }
  }
}

extension FileEntry {
  init(_ value: JSONValue, at place: String) throws {
    var reader = try ObjectReader(value, at: place)
    path = try reader.string("path")
    bytes = try reader.integer("bytes")
    sha256 = try reader.string("sha256")
    try reader.end()
  }
}

extension TensorSpec {
  init(_ value: JSONValue, at place: String) throws {
    var reader = try ObjectReader(value, at: place)
    name = try reader.string("name")
    dtype = try reader.string("dtype")
    shape = try reader.list("shape") { axis, place in
      if case .string = axis { return nil }
      return try axis.integer(at: place)
    }
    try reader.end()
  }
}

extension Artifact {
  private enum Verdict: String, CaseIterable {
    case pass, fail, unknown
  }

  init(_ value: JSONValue, at place: String) throws {
    var reader = try ObjectReader(value, at: place)
    path = try reader.string("path")
    format = try reader.string("format")
    recipe = try reader.string("recipe")
    precision = try reader.string("precision")
    bytes = try reader.integer("bytes")
    sha256 = try reader.string("sha256")
    inputs = try reader.list("inputs", TensorSpec.init)
    outputs = try reader.list("outputs", TensorSpec.init)
    lengths = try reader.optionalList("lengths") { try $0.integer(at: $1) }
    minimumRuntime = try reader.object("minimum_runtime") { value, place in
      guard case .object(let fields) = value else {
        throw BundleError("\(place) is not a JSON object")
      }
      return try fields.mapValues { try $0.string(at: place) }
    }
    try reader.skip("weights")
    gate = try reader.choice("gate", of: Verdict.self).rawValue
    files = reader.has("files") ? try reader.list("files", FileEntry.init) : []
    try reader.end()
  }

  fileprivate func check(maxLength: Int) throws {
    if let lengths {
      guard let longest = lengths.last, zip(lengths, lengths.dropFirst()).allSatisfy(<) else {
        throw BundleError("\(path): lengths must be ascending and not empty")
      }
      if longest < maxLength {
        throw BundleError("\(path): no length holds tokenizer.max_length ids")
      }
    }
    if files.isEmpty { return }
    if files.map(\.bytes).reduce(0, +) != bytes {
      throw BundleError("\(path): its files have other sizes than it")
    }
    if let outside = files.first(where: { !$0.path.utf8.starts(with: "\(path)/".utf8) }) {
      throw BundleError("\(path): \(outside.path) is not inside it")
    }
  }
}
