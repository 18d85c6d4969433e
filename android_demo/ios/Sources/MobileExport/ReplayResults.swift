import Foundation

/// What an artifact gave for a bundle's golden texts, as the file that the parity gate judges
/// (`runtime/parity/results.schema.json`).
public struct ReplayResults: Encodable, Sendable {
  /// One artifact on one machine.
  public struct Entry: Encodable, Sendable {
    public let path: String
    public let sha256: String
    public let machine: [String: String]
    public let environment: [String: String]
    public let cases: [Case]
  }

  /// One text.
  public struct Case: Encodable, Sendable {
    public let name: String
    public let logits: [Float]
    public let ids: [Int32]
    public let labels: [String]

    private enum CodingKeys: String, CodingKey {
      case name, logits, labels
      case ids = "input_ids"
    }
  }

  public let schemaVersion = 1
  public let artifacts: [Entry]

  private enum CodingKeys: String, CodingKey {
    case artifacts
    case schemaVersion = "schema_version"
  }

  /// Runs every golden text from text to label.
  ///
  /// - Parameters:
  ///   - environment: What the logits depend on besides, such as the compute units.
  ///   - progress: Called with the cases done and the cases in all.
  public static func replaying(
    _ bundle: ModelBundle, with classifier: TextClassifier, environment: [String: String],
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws -> ReplayResults {
    let golden = try Golden(bundle: bundle)
    var cases: [Case] = []
    for example in golden.cases {
      let answer = try classifier.classify(example.text)
      cases.append(
        Case(
          name: example.name, logits: answer.logits, ids: answer.ids, labels: answer.labels))
      progress(cases.count, golden.cases.count)
    }
    let machine = [
      "architecture": System.architecture, "processor": System.model,
      "emulator": System.simulator,
    ]
    let facts = ["runtime": "Core ML", "version": System.version, "system": System.name]
    let entry = Entry(
      path: classifier.artifact.path, sha256: classifier.artifact.sha256, machine: machine,
      environment: facts.merging(environment) { _, given in given }, cases: cases)
    return ReplayResults(artifacts: [entry])
  }

  /// JSON; what is not a finite number becomes `nan`, `inf` or `-inf`.
  public func json() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try encoder.encode(self)
  }
}
