import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readBootId, roleStore, StateError } from '../../src/role/index.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xfrmsync-role-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const canMount = (() => {
  try {
    execFileSync('unshare', ['--mount', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('role and term on disk', () => {
  it('nothing yet', async () => {
    expect(await roleStore(directory, 'boot').load()).toBeUndefined();
  });

  it('come back as they were stored, with the boot they belong to', async () => {
    await roleStore(directory, 'boot 1').save({ term: 7, role: 'standby', promised: 9, opening: true });
    expect(await roleStore(directory, 'boot 1').load()).toEqual({
      term: 7,
      role: 'standby',
      promised: 9,
      opening: true,
      bootId: 'boot 1',
      life: 2,
    });
    await roleStore(directory, 'boot 1').save({ term: 0xffff_ffff, role: 'active' });
    expect(await roleStore(directory, 'boot 2').load()).toEqual({
      term: 0xffff_ffff,
      role: 'active',
      bootId: 'boot 1',
      life: 2,
    });
  });

  it('one file, for its owner alone, and nothing beside it', async () => {
    const store = roleStore(directory, 'boot');
    for (let term = 0; term < 20; term++) await store.save({ term, role: 'standby' });
    expect(await readdir(directory)).toEqual(['role.json']);
    expect((await stat(join(directory, 'role.json'))).mode & 0o777).toBe(0o600);
    expect(await store.load()).toMatchObject({ term: 19 });
  });

  it('what a crash left half written is not read, and is written over', async () => {
    const store = roleStore(directory, 'boot');
    await store.save({ term: 5, role: 'active' });
    await writeFile(join(directory, '.role.json.new'), '{"term":6,"ro');
    expect(await store.load()).toMatchObject({ term: 5, role: 'active' });
    await store.save({ term: 7, role: 'standby' });
    expect(await store.load()).toMatchObject({ term: 7, role: 'standby' });
    expect(await readdir(directory)).toEqual(['role.json']);
  });

  it.each([
    '',
    '{',
    'null',
    '[]',
    '{"term":-1,"role":"active"}',
    '{"term":1.5,"role":"active"}',
    '{"term":4294967296,"role":"active"}',
    '{"term":"1","role":"active"}',
    '{"term":1,"role":"leader"}',
    '{"role":"active"}',
  ])('damaged (%s): says what to do, and guesses nothing', async (text) => {
    await writeFile(join(directory, 'role.json'), text);
    const failure = roleStore(directory, 'boot').load();
    await expect(failure).rejects.toBeInstanceOf(StateError);
    await expect(failure).rejects.toThrow(/role\.json is damaged\..*xfrmsync status.*standby/);
  });

  it('a state that was mended by hand, as the message says, is taken', async () => {
    await writeFile(join(directory, 'role.json'), '{"term":7,"role":"standby"}');
    expect(await roleStore(directory, 'boot').load()).toEqual({ term: 7, role: 'standby', bootId: '', life: 1 });
  });

  it.skipIf(!canMount)('a full disk: an error that names the file, and the old state is still there', async () => {
    const script = `
      mount -t tmpfs -o size=16k none ${directory} || exit 7
      echo '{"term":3,"role":"active"}' > ${directory}/role.json
      dd if=/dev/zero of=${directory}/filler bs=1k count=64 2>/dev/null
      exec "$@"`;
    const program = `
      import { roleStore } from ${JSON.stringify(join(import.meta.dirname, '../../dist/role/index.js'))};
      const store = roleStore(${JSON.stringify(directory)}, 'boot');
      const failure = await store.save({ term: 4, role: 'standby' }).then(() => undefined, (e) => e);
      console.log(JSON.stringify({ code: failure?.code, message: failure?.message, now: await store.load() }));`;
    const args = ['--mount', 'sh', '-c', script, 'sh', process.execPath, '--input-type=module', '-e', program];
    const told = JSON.parse(execFileSync('unshare', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
    expect(told).toMatchObject({ code: 'ERR_STATE', now: { term: 3, role: 'active' } });
    expect(told.message).toMatch(/role\.json: ENOSPC/);
  });

  it('a directory that is gone, or is none: an error that names the file', async () => {
    await mkdir(join(directory, 'x'));
    await writeFile(join(directory, 'file'), '');
    await expect(roleStore(join(directory, 'none'), 'b').save({ term: 1, role: 'active' })).rejects.toThrow(
      /cannot write .*none\/role\.json: ENOENT/,
    );
    await expect(roleStore(join(directory, 'file'), 'b').load()).rejects.toThrow(/cannot read .*ENOTDIR/);
  });

  it.skipIf(process.getuid?.() === 0)('no permission: an error that names the file', async () => {
    await chmod(directory, 0o500);
    await expect(roleStore(directory, 'b').save({ term: 1, role: 'active' })).rejects.toThrow(/EACCES/);
  });

  it('the boot is named by the kernel', async () => {
    const text = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => 'unknown');
    expect(await readBootId()).toBe(text.trim());
  });
});
