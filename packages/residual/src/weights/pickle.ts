import { ResidualError } from '../errors.js';
import { operandsFrom, truncated } from './pickle-operands.js';
import { isObject, type Pickled, type PickledGlobal, type PickledList } from './pickle-values.js';

/** What a global does when the pickle calls it with arguments; undefined where the call makes no sense. */
export type PickleCall = (args: readonly Pickled[]) => Pickled | undefined;

export interface PickleOptions {
  /** For messages. */
  readonly file: string;
  /** The closed list: `module.name` to its call. */
  readonly globals: ReadonlyMap<string, PickleCall>;
  /** Turns a persistent id (torch: a storage) into a value; undefined where it makes no sense. */
  readonly persistent: (id: Pickled) => Pickled | undefined;
  /** Sets the state of something built earlier (`__setstate__`). */
  readonly build: (target: Pickled, state: Pickled) => Pickled;
}

/** Real checkpoints take some thousands of opcodes; a million recorded losses take one million. */
const maxOpcodes = 2_000_000;

const mark = Symbol('mark');
type Slot = Pickled | typeof mark;

/**
 * Runs one pickle that begins at `start`: Python's pickle as a closed machine, with a fixed set of opcodes, and only
 * those globals that the caller's table names. Nothing is imported, nothing is called but the table's functions, and
 * every loop is bounded by the bytes read. Opcodes and their operands: CPython's `pickletools.py`, protocols 0 to 5.
 *
 * @returns its value and where it ends, or `truncated`.
 * @throws WEIGHTS_UNSAFE for a global that is not in the table (by name; nothing was executed), WEIGHTS_FORMAT for
 * anything else that is wrong.
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  options: PickleOptions,
): { value: Pickled; end: number } | typeof truncated {
  const { file, globals } = options;
  const stack: Slot[] = [];
  const marks: number[] = [];
  const memo = new Map<number, Pickled>();
  const read = operandsFrom(bytes, start, file);
  const { bad, u8, u32, u64, text, line, blob, long, decimal } = read;
  let opcodes = 0;

  const push = (value: Slot) => {
    stack.push(value);
  };
  const pop = (): Pickled => {
    const value = stack.pop();
    if (value === undefined || value === mark) throw bad('an empty stack');
    return value;
  };
  const top = (): Pickled => {
    const value = stack[stack.length - 1];
    if (value === undefined || value === mark) throw bad('an empty stack');
    return value;
  };
  const popToMark = (): Pickled[] => {
    const from = marks.pop();
    if (from === undefined || from >= stack.length || stack[from] !== mark) throw bad('a missing mark');
    const items = stack.splice(from) as Pickled[];
    items.shift();
    return items;
  };
  const items = (value: Pickled, kind: PickledList['kind']): Pickled[] => {
    if (!isObject(value) || value.kind !== kind) throw bad(`something that is no ${kind}`);
    return value.items;
  };
  const entries = (value: Pickled): Pickled[] => {
    if (!isObject(value) || value.kind !== 'dict') throw bad('something that is no dict');
    return value.entries;
  };
  const append = (target: Pickled[], added: readonly Pickled[]) => {
    for (const value of added) target.push(value);
  };
  const pairs = (list: Pickled[]): Pickled[] => {
    if (list.length % 2) throw bad('a key without a value');
    return list;
  };
  const global = (module: string, name: string): PickledGlobal => {
    const full = `${module}.${name}`;
    if (!globals.has(full)) throw unsafe(file, full);
    return { kind: 'global', name: full };
  };
  const call = (target: Pickled, args: Pickled): Pickled => {
    if (!isObject(target) || target.kind !== 'global') throw bad('a call of something that is no function');
    const result = globals.get(target.name)!(items(args, 'tuple'));
    if (result === undefined) throw bad(`a call of ${target.name} that makes no sense`);
    return result;
  };
  const persistent = (id: Pickled): Pickled => {
    const value = options.persistent(id);
    if (value === undefined) throw bad('a persistent id that makes no sense');
    return value;
  };
  const recall = (index: number): Pickled => {
    const value = memo.get(index);
    if (value === undefined) throw bad(`memo ${index}, which was never set`);
    return value;
  };
  /** One opcode; true at the end. */
  const step = (): boolean => {
    const opcode = u8();
    switch (opcode) {
      case 0x80: // PROTO
        if (u8() > 5) throw bad('a protocol above 5');
        return false;
      case 0x95: // FRAME
        u64();
        return false;
      case 0x2e: // STOP
        return true;
      case 0x28: // MARK
        marks.push(stack.length);
        push(mark);
        return false;
      case 0x30: // POP
        if (stack[stack.length - 1] === mark) marks.pop();
        if (stack.pop() === undefined) throw bad('an empty stack');
        return false;
      case 0x31: // POP_MARK
        popToMark();
        return false;
      case 0x32: // DUP
        push(top());
        return false;
      case 0x4e: // NONE
        push(null);
        return false;
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        push(opcode === 0x88);
        return false;
      case 0x49: {
        // INT, which also writes booleans as 00 and 01
        const digits = line();
        push(digits === '01' ? true : digits === '00' ? false : decimal(digits));
        return false;
      }
      case 0x4c: // LONG
        push(decimal(line().replace(/L$/, '')));
        return false;
      case 0x4a: // BININT
        push(read.i32());
        return false;
      case 0x4b: // BININT1
        push(u8());
        return false;
      case 0x4d: // BININT2
        push(read.u16());
        return false;
      case 0x8a: // LONG1
        push(long(u8()));
        return false;
      case 0x8b: // LONG4
        push(long(u32()));
        return false;
      case 0x46: {
        // FLOAT
        const digits = line();
        const value = ({ nan: NaN, inf: Infinity, '-inf': -Infinity } as Record<string, number>)[digits];
        push(value ?? Number(digits));
        return false;
      }
      case 0x47: // BINFLOAT
        push(read.f64());
        return false;
      case 0x53: // STRING, quoted
        push(line().slice(1, -1));
        return false;
      case 0x56: // UNICODE
        push(line());
        return false;
      case 0x54: // BINSTRING
      case 0x58: // BINUNICODE
        push(text(u32()));
        return false;
      case 0x55: // SHORT_BINSTRING
      case 0x8c: // SHORT_BINUNICODE
        push(text(u8()));
        return false;
      case 0x8d: // BINUNICODE8
        push(text(u64()));
        return false;
      case 0x42: // BINBYTES
        push(blob(u32()));
        return false;
      case 0x43: // SHORT_BINBYTES
        push(blob(u8()));
        return false;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        push(blob(u64()));
        return false;
      case 0x5d: // EMPTY_LIST
        push({ kind: 'list', items: [] });
        return false;
      case 0x29: // EMPTY_TUPLE
        push({ kind: 'tuple', items: [] });
        return false;
      case 0x7d: // EMPTY_DICT
        push({ kind: 'dict', entries: [] });
        return false;
      case 0x8f: // EMPTY_SET
        push({ kind: 'set', items: [] });
        return false;
      case 0x6c: // LIST
        push({ kind: 'list', items: popToMark() });
        return false;
      case 0x74: // TUPLE
        push({ kind: 'tuple', items: popToMark() });
        return false;
      case 0x91: // FROZENSET
        push({ kind: 'set', items: popToMark() });
        return false;
      case 0x64: // DICT
        push({ kind: 'dict', entries: pairs(popToMark()) });
        return false;
      case 0x85: // TUPLE1
        push({ kind: 'tuple', items: [pop()] });
        return false;
      case 0x86: {
        // TUPLE2
        const b = pop();
        push({ kind: 'tuple', items: [pop(), b] });
        return false;
      }
      case 0x87: {
        // TUPLE3
        const c = pop();
        const b = pop();
        push({ kind: 'tuple', items: [pop(), b, c] });
        return false;
      }
      case 0x61: {
        // APPEND
        const value = pop();
        items(top(), 'list').push(value);
        return false;
      }
      case 0x65: {
        // APPENDS
        const added = popToMark();
        append(items(top(), 'list'), added);
        return false;
      }
      case 0x90: {
        // ADDITEMS
        const added = popToMark();
        append(items(top(), 'set'), added);
        return false;
      }
      case 0x73: {
        // SETITEM
        const value = pop();
        const key = pop();
        entries(top()).push(key, value);
        return false;
      }
      case 0x75: {
        // SETITEMS
        const added = pairs(popToMark());
        append(entries(top()), added);
        return false;
      }
      case 0x70: // PUT
        memo.set(Number(decimal(line())), top());
        return false;
      case 0x71: // BINPUT
        memo.set(u8(), top());
        return false;
      case 0x72: // LONG_BINPUT
        memo.set(u32(), top());
        return false;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        return false;
      case 0x67: // GET
        push(recall(Number(decimal(line()))));
        return false;
      case 0x68: // BINGET
        push(recall(u8()));
        return false;
      case 0x6a: // LONG_BINGET
        push(recall(u32()));
        return false;
      case 0x63: {
        // GLOBAL
        const module = line();
        push(global(module, line()));
        return false;
      }
      case 0x93: {
        // STACK_GLOBAL
        const name = pop();
        const module = pop();
        if (typeof name !== 'string' || typeof module !== 'string') throw bad('a global without a name');
        push(global(module, name));
        return false;
      }
      case 0x69: {
        // INST
        const module = line();
        const target = global(module, line());
        push(call(target, { kind: 'tuple', items: popToMark() }));
        return false;
      }
      case 0x6f: {
        // OBJ
        const [target, ...args] = popToMark();
        push(call(target ?? null, { kind: 'tuple', items: args }));
        return false;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const args = pop();
        push(call(pop(), args));
        return false;
      }
      case 0x92: {
        // NEWOBJ_EX
        pop();
        const args = pop();
        push(call(pop(), args));
        return false;
      }
      case 0x62: {
        // BUILD
        const state = pop();
        push(options.build(pop(), state));
        return false;
      }
      case 0x50: // PERSID
        push(persistent(line()));
        return false;
      case 0x51: // BINPERSID
        push(persistent(pop()));
        return false;
      default: // EXT1 to EXT4 and out-of-band buffers among them
        throw bad(`opcode 0x${opcode.toString(16).padStart(2, '0')}, which no checkpoint uses,`);
    }
  };

  try {
    while (!step()) if (++opcodes > maxOpcodes) throw bad(`more than ${maxOpcodes} opcodes`);
  } catch (thrown) {
    if (thrown === truncated) return truncated;
    throw thrown;
  }
  return { value: pop(), end: read.at };
}

function unsafe(file: string, name: string): ResidualError {
  const shown = name.length > 80 ? `${name.slice(0, 80)}…` : name;
  return new ResidualError(
    'WEIGHTS_UNSAFE',
    `${file}: its pickle names ${shown.replace(/\p{Cc}/gu, '?')}, which does not build a tensor; it was refused and ` +
      'nothing was executed. If you trust the file, save only the weights: torch.save(model.state_dict(), path)',
    { file, global: shown },
  );
}
