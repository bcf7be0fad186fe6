/** Runs a program on a pseudo-terminal, with what machines have for it, and notes what it writes and when. */
import { spawn, spawnSync } from 'node:child_process';
import { StringDecoder } from 'node:string_decoder';
import type { Cast, CastEvent } from './cast.ts';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface Way {
  readonly name: string;
  here(): boolean;
  /** Command and arguments; the terminal's output is on its stdout, its exit code is the program's. */
  wrap(command: readonly string[], size: Size): readonly string[];
}

const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
const succeeds = (command: string, args: readonly string[]): string | undefined => {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  return status === 0 ? stdout : undefined;
};

/** The size is there before the program is. */
const PYTHON = `
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', int(sys.argv[1]), int(sys.argv[2]), 0, 0))
    os.execvp(sys.argv[3], sys.argv[3:])
while True:
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
_, status = os.waitpid(pid, 0)
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
`;

export const WAYS: readonly Way[] = [
  {
    name: 'script of util-linux',
    here: () => succeeds('script', ['--version'])?.includes('util-linux') === true,
    wrap: (command, { columns, rows }) => [
      'script',
      '--quiet',
      '--flush',
      '--return',
      '--command',
      `stty rows ${rows} cols ${columns} && exec ${command.map(quote).join(' ')}`,
      '/dev/null',
    ],
  },
  {
    name: 'pty of Python 3',
    here: () => succeeds('python3', ['-c', 'import pty, fcntl, termios']) !== undefined,
    wrap: (command, { columns, rows }) => ['python3', '-c', PYTHON, `${rows}`, `${columns}`, ...command],
  },
];

/** Of the program: colours and UTF-8, and no other wishes of whoever records. */
const ENVIRONMENT = { TERM: 'xterm-256color', LC_ALL: 'C.UTF-8', SHELL: '/bin/sh' } as const;
const REMOVED = ['NO_COLOR', 'FORCE_COLOR', 'COLORTERM', 'NODE_OPTIONS', 'NODE_DISABLE_COLORS'] as const;

/** `title`: what the header says was run. @throws Error if the way cannot be started; the program's exit code is in the result */
export async function record(
  way: Way,
  command: readonly string[],
  size: Size,
  title: string,
): Promise<{ readonly cast: Cast; readonly status: number | null }> {
  const env: NodeJS.ProcessEnv = { ...process.env, ...ENVIRONMENT };
  for (const name of REMOVED) delete env[name];
  const [file = '', ...args] = way.wrap(command, size);
  // Input stays open and silent: its end would be typed into the terminal.
  const child = spawn(file, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const timestamp = Math.floor(Date.now() / 1000);
  const startMs = performance.now();
  const events: CastEvent[] = [];
  const decoder = new StringDecoder('utf8');
  const note = (text: string): void => {
    if (text !== '') events.push([(performance.now() - startMs) / 1000, 'o', text]);
  };
  child.stdout.on('data', (chunk: Buffer) => note(decoder.write(chunk)));
  const status = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  note(decoder.end());
  const { columns: width, rows: height } = size;
  const header = { version: 2, width, height, timestamp, command: title, env: { TERM: ENVIRONMENT.TERM } } as const;
  return { cast: { header, events }, status };
}
