/** What we use of ONNX Runtime's JavaScript interface, which is the same in its packages for Node and the web. */
export interface Ort {
  readonly InferenceSession: {
    create(model: Uint8Array, options: OrtSessionOptions): Promise<OrtSession>;
  };
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => OrtTensor;
}

export interface OrtSessionOptions {
  executionProviders: string[];
  /** Files that the model names, by the names it uses. */
  externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
  intraOpNumThreads?: number;
  graphOptimizationLevel: 'all';
  /** Settings by ONNX Runtime's own names (onnxruntime_session_options_config_keys.h), a level for each dot. */
  extra?: { session: Readonly<Record<string, string>> };
  enableCpuMemArena?: boolean;
  enableMemPattern?: boolean;
  logSeverityLevel: 0 | 1 | 2 | 3 | 4;
}

export interface OrtSession {
  /** With `fetches`: only those results, each in the tensor that is given for it, or in a new one for null. */
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches?: Readonly<Record<string, OrtTensor | null>>,
  ): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

export interface OrtTensor {
  readonly dims: readonly number[];
  readonly data: unknown;
}

/** ONNX Runtime as found on this machine. */
export interface OrtRuntime {
  readonly ort: Ort;
  /** Package and version, such as `onnxruntime-node 1.30.0`. */
  readonly runtime: string;
  /** Why it is not the faster package. */
  readonly note?: string;
  /** Whether it writes results into tensors that it is given for them. */
  readonly writesResults: boolean;
  /** Its name of each device it has. */
  readonly providers: ReadonlyMap<string, string>;
}

/** Nothing is logged but what ends the process: errors are thrown as well, and warnings are of no use to a reader. */
export const quiet = { logLevel: 'fatal', logSeverityLevel: 4 } as const;
