// The actor of a trained agent: standardized observation, hidden layers, tanh, the bounds of the motors. Three products a step.

/** The number that 16 bits stand for: a sign, 5 bits of exponent, 10 of fraction. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

/** The arrays in a safetensors file, by name: the length of a JSON header, the header, then the numbers. */
export function readTensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, { dtype, data_offsets: [start, end] }] of Object.entries(header)) {
    const bytes = buffer.slice(8 + length + start, 8 + length + end);
    tensors[name] = dtype === "F16" ? Float32Array.from(new Uint16Array(bytes), fromHalf) : new Float32Array(bytes);
  }
  return tensors;
}

const ACTIVATIONS = { swish: (x) => x / (1 + Math.exp(-x)), relu: (x) => Math.max(0, x) };

/** x W + b, where W has a row of outputs for each input. */
function affine(x, weight, bias) {
  const y = Float64Array.from(bias);
  x.forEach((value, i) => { for (let j = 0; j < y.length; j++) y[j] += value * weight[i * y.length + j]; });
  return y;
}

export class Actor {
  /** `tensors` are named as in the library's Actor; `about` names the activation and the bounds of the actions. */
  constructor(tensors, about) {
    this.mean = tensors["obs_scale.mean"];
    this.std = tensors["obs_scale.std"];
    this.layers = [];
    for (let i = 0; `weights.${i}` in tensors; i++) this.layers.push([tensors[`weights.${i}`], tensors[`biases.${i}`]]);
    this.activation = ACTIVATIONS[about.activation];
    this.about = about;
  }

  /** The action for one observation, in the units of the task, in single precision as in Python. */
  act(obs) {
    let x = Float64Array.from(obs, (value, i) => (Math.fround(value) - this.mean[i]) / this.std[i]);
    this.layers.forEach(([weight, bias], i) => {
      x = affine(x, weight, bias);
      if (i < this.layers.length - 1) x = x.map(this.activation);
    });
    const { low, high } = this.about;
    return Float32Array.from(x, (value, i) => low[i] + (Math.tanh(value) + 1) / 2 * (high[i] - low[i]));
  }
}
