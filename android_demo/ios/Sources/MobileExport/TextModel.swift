/// Ids → logits: one artifact in a runtime.
public protocol TextModel: Sendable {
  /// Runs one sequence.
  ///
  /// - Parameters:
  ///   - inputIDs: Padded to one of the artifact's lengths.
  ///   - attentionMask: 1 for a token, 0 for padding; as long as `inputIDs`.
  /// - Returns: One logit per label.
  func logits(inputIDs: [Int32], attentionMask: [Int32]) throws -> [Float]
}
