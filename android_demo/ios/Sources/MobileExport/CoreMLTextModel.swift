#if canImport(CoreML)
  import CoreML
  import Foundation

  /// A bundle's `.mlpackage`, run by Core ML. Use it from any thread.
  public final class CoreMLTextModel: TextModel, @unchecked Sendable {
    // Core ML does not promise that several threads may use a model at once.
    private let lock = NSLock()
    private let model: MLModel

    private init(_ model: MLModel) { self.model = model }

    /// Compiles a package for this device, or finds it compiled, and loads it.
    ///
    /// - Parameters:
    ///   - artifact: Of the bundle; one whose outputs are a classifier's has logits, too.
    ///   - computeUnits: Where it may run.
    ///   - cache: A folder for compiled packages; the app's caches without one.
    /// - Throws: `BundleError` if the system is too old for the package, Core ML refuses it, or it
    ///   has other inputs and outputs than the manifest says.
    public static func load(
      _ artifact: Artifact, of bundle: ModelBundle, computeUnits: MLComputeUnits = .all,
      cache: URL? = nil
    ) async throws -> CoreMLTextModel {
      if !System.runs(artifact) {
        throw BundleError(
          "\(artifact.path) needs \(System.name) \(artifact.minimumRuntime[System.name] ?? "")",
          why: "this is \(System.version)", todo: "choose another artifact of the bundle")
      }
      let configuration = MLModelConfiguration()
      configuration.computeUnits = computeUnits
      let package = try bundle.url(artifact.path)
      do {
        let compiled = try await compiled(package, sha256: artifact.sha256, cache: cache)
        let model = try await MLModel.load(contentsOf: compiled, configuration: configuration)
        try check(model.modelDescription, artifact)
        return CoreMLTextModel(model)
      } catch let error as BundleError {
        throw error
      } catch {
        throw BundleError("Core ML refuses \(artifact.path)", why: error.localizedDescription)
      }
    }

    public func logits(inputIDs: [Int32], attentionMask: [Int32]) throws -> [Float] {
      let inputs = try MLDictionaryFeatureProvider(dictionary: [
        "input_ids": CoreMLTextModel.row(inputIDs),
        "attention_mask": CoreMLTextModel.row(attentionMask),
      ])
      lock.lock()
      defer { lock.unlock() }
      let outputs = try model.prediction(from: inputs)
      guard let logits = outputs.featureValue(for: "logits")?.multiArrayValue else {
        throw BundleError("the model gave no array called logits")
      }
      // Whatever the output's type and memory layout.
      return MLShapedArray<Float>(converting: logits).scalars
    }

    /// One row, int32 [1, length].
    private static func row(_ values: [Int32]) -> MLFeatureValue {
      let array = MLShapedArray<Int32>(scalars: values, shape: [1, values.count])
      return MLFeatureValue(multiArray: MLMultiArray(array))
    }

    /// Core ML compiles to a temporary folder. What it made is kept for as long as the package and
    /// the system stay the same.
    private static func compiled(_ package: URL, sha256: String, cache: URL?) async throws -> URL {
      let files = FileManager.default
      let folder = try (cache ?? caches()).appendingPathComponent("MobileExport")
      let place = folder.appendingPathComponent("\(sha256)-\(System.version).mlmodelc")
      if files.fileExists(atPath: place.path) { return place }
      let made = try await MLModel.compileModel(at: package)
      try files.createDirectory(at: folder, withIntermediateDirectories: true)
      do {
        try files.moveItem(at: made, to: place)
      } catch {
        // Somebody else was faster, or the disk is full: then the temporary one serves.
        return files.fileExists(atPath: place.path) ? place : made
      }
      return place
    }

    private static func caches() throws -> URL {
      try FileManager.default.url(
        for: .cachesDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
    }

    private static func check(_ description: MLModelDescription, _ artifact: Artifact) throws {
      let inputs = Set(description.inputDescriptionsByName.keys)
      let outputs = Set(description.outputDescriptionsByName.keys)
      if inputs != Set(artifact.inputs.map(\.name))
        || !outputs.isSuperset(of: artifact.outputs.map(\.name))
      {
        throw BundleError(
          "\(artifact.path) has other inputs or outputs than the manifest says",
          why: "it has \((inputs.sorted() + outputs.sorted()).joined(separator: ", "))")
      }
    }
  }

  extension TextClassifier {
    /// Opens a bundle and loads one of its Core ML packages.
    ///
    /// - Parameters:
    ///   - folder: The bundle's.
    ///   - path: Of the package; without one the smallest that this system runs.
    ///   - computeUnits: Where it may run.
    public static func coreML(
      bundle folder: URL, artifact path: String? = nil, computeUnits: MLComputeUnits = .all
    ) async throws -> TextClassifier {
      let bundle = try ModelBundle(folder: folder)
      let artifact = try bundle.artifact(path)
      let model = try await CoreMLTextModel.load(artifact, of: bundle, computeUnits: computeUnits)
      return try TextClassifier(bundle: bundle, artifact: artifact, model: model)
    }
  }
#endif
