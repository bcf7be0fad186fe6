/** strongSwan's daemon on a machine of the lab, with a configuration, a log and a control socket of its own. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 60_000;
const START_MAX_MS = 60_000;
const POLL_MS = 100;
/** swanctl looks into each of them. */
const FOLDERS = 'conf.d x509 x509ca x509aa x509ocsp x509crl x509ac pubkey private rsa ecdsa bliss pkcs8 pkcs12'.split(
  ' ',
);

/** In the guest: its /usr with that of the unpacked packages below. Gone with the guest. */
export function mountPackages(tree: string): void {
  execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=/usr:${tree}/usr`, '/usr']);
}

export interface ChildSaText {
  readonly name: string;
  readonly uniqueId: string;
  readonly state: string;
  readonly reqid: number;
  readonly spiIn: number;
  readonly spiOut: number;
}

export class Charon {
  readonly namespace: string;
  readonly #directory: string;
  readonly #settings: readonly string[];
  #swanctl: string;
  #child: ChildProcess | undefined;

  /** `settings`: lines of strongswan.conf for charon itself. */
  constructor(namespace: string, directory: string, swanctl: string, settings: readonly string[] = []) {
    this.#settings = settings;
    this.namespace = namespace;
    this.#directory = join(directory, `charon-${namespace}`);
    this.#swanctl = swanctl;
  }

  get #env(): NodeJS.ProcessEnv {
    const swanctl = join(this.#directory, 'swanctl');
    return { ...process.env, STRONGSWAN_CONF: join(this.#directory, 'strongswan.conf'), SWANCTL_DIR: swanctl };
  }
  get #uri(): string {
    return `unix://${this.#directory}/vici`;
  }

  /** Another swanctl.conf, from its next start, or `reload`. */
  configure(swanctl: string): void {
    this.#swanctl = swanctl;
  }

  #write(): void {
    const swanctl = join(this.#directory, 'swanctl');
    for (const folder of FOLDERS) mkdirSync(join(swanctl, folder), { recursive: true, mode: 0o700 });
    writeFileSync(join(swanctl, 'swanctl.conf'), this.#swanctl, { mode: 0o600 });
    const text = `charon-systemd {
  load = random nonce aes sha1 sha2 hmac kdf drbg pem gmp gcm kernel-netlink socket-default vici
  install_routes = no
  install_virtual_ip = no
${this.#settings.map((line) => `  ${line}`).join('\n')}
  filelog {
    lab {
      path = ${this.#directory}/log
      append = yes
      flush_line = yes
      default = 1
      knl = 2
    }
  }
  plugins {
    vici {
      socket = ${this.#uri}
    }
  }
}
swanctl {
  load = random
}
`;
    writeFileSync(join(this.#directory, 'strongswan.conf'), text);
  }

  /** Starts it and loads its configuration. */
  async start(): Promise<void> {
    this.#write();
    const out = openSync(join(this.#directory, 'output'), 'a');
    // `ip netns exec` becomes the program: the child's id is charon's.
    this.#child = spawn('ip', ['netns', 'exec', this.namespace, 'charon-systemd'], {
      stdio: ['ignore', out, out],
      env: this.#env,
    });
    closeSync(out);
    const deadline = performance.now() + START_MAX_MS;
    for (;;) {
      try {
        await this.ctl('--load-all', '--noprompt');
        return;
      } catch (error) {
        if (performance.now() > deadline || this.#child.exitCode !== null)
          throw new Error(`charon in ${this.namespace} does not answer: ${(error as Error).message}\n${this.log()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async reload(): Promise<void> {
    this.#write();
    await this.ctl('--load-conns');
  }

  /** swanctl. @throws Error with what it wrote */
  async ctl(...words: string[]): Promise<string> {
    const args = ['netns', 'exec', this.namespace, 'swanctl', ...words, '--uri', this.#uri];
    try {
      const { stdout } = await run('ip', args, { env: this.#env, timeout: COMMAND_TIMEOUT_MS });
      return stdout;
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`swanctl ${words.join(' ')} in ${this.namespace}: ${stderr.trim()}\n${stdout.trim()}`);
    }
  }

  async childSas(): Promise<ChildSaText[]> {
    return parseChildSas(await this.ctl('--list-sas', '--raw'));
  }

  async version(): Promise<string> {
    return (await this.ctl('--version')).match(/strongSwan\D*(\d\S*)/)?.[1] ?? '';
  }

  /** Everything that it has logged. */
  log(): string {
    try {
      return readFileSync(join(this.#directory, 'log'), 'utf8');
    } catch {
      return '';
    }
  }

  /** It does not get a processor, or gets it again. */
  freeze(frozen: boolean): void {
    this.#child?.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
  }

  /** SIGTERM: it deletes its SAs and says so to the peer. SIGKILL: as sudden as the death of a machine. */
  async stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }
}

/** `swanctl --list-sas --raw`: one line for each IKE_SA, its children in braces. */
export function parseChildSas(text: string): ChildSaText[] {
  return [...text.matchAll(/\bname=(\S+) uniqueid=(\d+) reqid=(\d+) state=(\w+) ([^{}]*)/g)].flatMap(
    ([, name = '', uniqueId = '', reqid, state = '', rest = '']) => {
      const spi = (word: string) => Number.parseInt(rest.match(new RegExp(`\\b${word}=([0-9a-f]+)`))?.[1] ?? '0', 16);
      return [{ name, uniqueId, state, reqid: Number(reqid), spiIn: spi('spi-in'), spiOut: spi('spi-out') }];
    },
  );
}
